// One thing at a time, in the order it was asked for.

/** What runs in a lane never overlaps; a task that fails does not stop the next one. */
export class Lane {
  #tail: Promise<unknown> = Promise.resolve();

  run<Result>(task: () => Result | Promise<Result>): Promise<Result> {
    const result = this.#tail.then(task);
    this.#tail = result.catch(() => undefined);
    return result;
  }

  /** Resolves when everything asked for so far has run. */
  async idle(): Promise<void> {
    await this.#tail;
  }
}
