// The caller owns shutdown: one signal, aborted by SIGTERM, SIGINT or the loss of the parent; a second SIGINT ends at once.

export function shutdownSignal(): AbortSignal {
  const controller = new AbortController();
  for (const name of ["SIGTERM", "SIGINT"] as const) {
    process.on(name, () => {
      if (controller.signal.aborted && name === "SIGINT") process.exit(130);
      controller.abort(new Error(`stopped by ${name}`));
    });
  }
  // Only a process that was started over IPC has a parent to lose.
  process.once("disconnect", () => controller.abort(new Error("the parent process is gone")));
  return controller.signal;
}

/** Resolves when `signal` aborts. */
export function aborted(signal: AbortSignal): Promise<void> {
  if (signal.aborted) return Promise.resolve();
  return new Promise((resolve) => signal.addEventListener("abort", () => resolve(), { once: true }));
}

/** To a parent that started this process over IPC, if there is one and it is still there. */
export function tellParent(message: object): void {
  process.send?.(message, () => undefined); // one that has gone meanwhile is heard of as "disconnect"
}
