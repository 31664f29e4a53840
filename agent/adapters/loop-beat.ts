// How long the event loop let a timer wait, as a beat of one second measures it.

const BEAT_MS = 1_000;
/** The longest of this many beats is told, and of the ones before them until as many have followed. */
const BEATS = 30;

export class LoopBeat {
  readonly #timer: NodeJS.Timeout;
  #beats = 0;
  #longestMs = 0;
  #longestBeforeMs = 0;

  /** `onBeat` is called every second that the loop goes round. */
  constructor(onBeat: () => void) {
    let expectedMs = performance.now() + BEAT_MS;
    this.#timer = setInterval(() => {
      this.#measure(performance.now() - expectedMs);
      expectedMs = performance.now() + BEAT_MS;
      onBeat();
    }, BEAT_MS);
  }

  /** In the last half minute to minute. */
  get lagMs(): number {
    return Math.max(this.#longestMs, this.#longestBeforeMs);
  }

  close(): void {
    clearInterval(this.#timer);
  }

  #measure(lateMs: number): void {
    this.#longestMs = Math.max(this.#longestMs, lateMs);
    if (++this.#beats < BEATS) return;
    this.#longestBeforeMs = this.#longestMs;
    this.#longestMs = 0;
    this.#beats = 0;
  }
}
