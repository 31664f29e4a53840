// Group commit: while one batch is written what arrives waits, and becomes the next batch whole.
import { pause } from "../../runtime/retry.ts";

export interface GroupCommitLimits {
  /** That wait or are being written, in all. */
  readonly maxItems: number;
  readonly maxBytes: number;
  /** Of one batch; one item is always a batch. */
  readonly batchItems: number;
  readonly batchBytes: number;
}

export interface GroupCommitSettings<Item, Outcome> {
  readonly limits: GroupCommitLimits;
  /** Batches that are written side by side. */
  readonly writers: number;
  /** What an idle writer waits for others before it takes a batch; absent: nothing waits on purpose. */
  readonly gatherMs?: number;
  bytesOf(item: Item): number;
  /** The outcome of each item, in order; all of them fail if it rejects. `writer`: which of the writers asks. */
  write(items: readonly Item[], writer: number): Promise<readonly Outcome[]>;
}

interface Waiting<Item, Outcome> {
  readonly item: Item;
  readonly bytes: number;
  readonly resolve: (outcome: Outcome) => void;
  readonly reject: (error: unknown) => void;
}

/** Items are written in the order in which they came, by each writer one batch at a time. */
export class GroupCommit<Item, Outcome> {
  readonly #settings: GroupCommitSettings<Item, Outcome>;
  #queue: Waiting<Item, Outcome>[] = [];
  readonly #idle: number[];
  readonly #writing = new Set<Promise<void>>();
  #items = 0;
  #bytes = 0;
  #lastBytes = 0;
  readonly #waitingForCalm: (() => void)[] = [];

  constructor(settings: GroupCommitSettings<Item, Outcome>) {
    this.#settings = settings;
    this.#idle = Array.from({ length: settings.writers }, (_, writer) => writer);
  }

  /** Whether there is room for `item`; if not, `add` must not be called. */
  hasRoomFor(item: Item): boolean {
    const { maxItems, maxBytes } = this.#settings.limits;
    return this.#items < maxItems && (this.#bytes === 0 || this.#bytes + this.#settings.bytesOf(item) <= maxBytes);
  }

  /** Resolves or rejects as the item's batch does. */
  add(item: Item): Promise<Outcome> {
    const bytes = this.#settings.bytesOf(item);
    this.#items++;
    this.#bytes += bytes;
    this.#lastBytes = bytes;
    return new Promise((resolve, reject) => {
      this.#queue.push({ item, bytes, resolve, reject });
      this.#begin();
    });
  }

  /** Half empty: more can be taken in without refusing it. */
  get isCalm(): boolean {
    return this.#roomUntilBusy() > 0;
  }

  /** Resolves when it is calm, for as many callers at a time as there is room for, in the order in which they asked. */
  whenCalm(): Promise<void> {
    if (this.isCalm && this.#waitingForCalm.length === 0) return Promise.resolve();
    return new Promise((resolve) => this.#waitingForCalm.push(resolve));
  }

  /** Resolves when nothing waits any more. */
  async settled(): Promise<void> {
    while (this.#writing.size > 0) await Promise.race(this.#writing);
  }

  /** Items like the last one that keep it calm; where nothing is written, nothing would end a wait for room. */
  #roomUntilBusy(): number {
    if (this.#items === 0) return Number.POSITIVE_INFINITY;
    const { maxItems, maxBytes } = this.#settings.limits;
    return Math.min(
      maxItems / 2 - this.#items,
      Math.floor((maxBytes / 2 - this.#bytes) / Math.max(1, this.#lastBytes)),
    );
  }

  #begin(): void {
    const writer = this.#queue.length > 0 ? this.#idle.shift() : undefined;
    if (writer === undefined) return;
    const { gatherMs } = this.#settings;
    const written =
      gatherMs === undefined
        ? this.#writeBatch(this.#take(), writer)
        : pause(gatherMs).then(() => this.#writeBatch(this.#take(), writer));
    const writing = written.finally(() => {
      this.#writing.delete(writing);
      this.#idle.push(writer);
      this.#begin();
    });
    this.#writing.add(writing);
  }

  #take(): Waiting<Item, Outcome>[] {
    const { batchItems, batchBytes } = this.#settings.limits;
    let count = 0;
    for (let bytes = 0; count < Math.min(batchItems, this.#queue.length); count++) {
      bytes += this.#queue[count]?.bytes ?? 0;
      if (count > 0 && bytes > batchBytes) break;
    }
    return this.#queue.splice(0, count);
  }

  async #writeBatch(batch: readonly Waiting<Item, Outcome>[], writer: number): Promise<void> {
    try {
      const outcomes = await this.#settings.write(
        batch.map(({ item }) => item),
        writer,
      );
      batch.forEach(({ resolve }, index) => {
        resolve(outcomes[index] as Outcome);
      });
    } catch (error) {
      for (const { reject } of batch) reject(error);
    } finally {
      this.#items -= batch.length;
      this.#bytes -= batch.reduce((sum, { bytes }) => sum + bytes, 0);
      for (const release of this.#waitingForCalm.splice(0, Math.max(0, this.#roomUntilBusy()))) release();
    }
  }
}
