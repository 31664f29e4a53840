// What is on its way to gateways, bounded in bytes over all sessions: a champion for thousands of them leaves as fast as
// they read, and who does not read is dropped instead of being waited for.

export interface Reader {
  /** `taken`: the connection has taken the message; never called once the reader is gone. */
  write(message: Buffer, taken: () => void): void;
  /** It reads too slowly, or not at all: its session is to be ended. */
  drop(why: string): void;
}

export interface OutletLimits {
  /** That connections have been given and not yet taken, in all; one message may always be under way. */
  readonly maxBytes: number;
  /** Checks: a message under way for more is dropped with its reader, … */
  readonly patience: number;
  /** … and already after more than these when others wait for its room. */
  readonly hurry: number;
  /** That wait for one reader. */
  readonly maxMessages: number;
}

export interface Outlet {
  /** In the order given. A message of a `subject` takes the place of one of the same subject that still waits. */
  send(message: Buffer, subject?: string): void;
  close(): void;
}

interface Waiting {
  readonly message: Buffer;
  readonly subject: string | undefined;
}

/**
 * Each reader has at most one message under way; `#waiting` holds readers that have none under way and no room for one.
 * Time is counted in checks, so that a process that was busy itself does not take its readers for slow.
 */
export class Outlets {
  readonly #limits: OutletLimits;
  #bytes = 0;
  #checks = 0;
  /** Oldest first. */
  readonly #underway = new Map<QueuedOutlet, { readonly bytes: number; readonly since: number }>();
  readonly #waiting = new Set<QueuedOutlet>();

  constructor(limits: OutletLimits) {
    this.#limits = limits;
  }

  open(reader: Reader): Outlet {
    return new QueuedOutlet(reader, this.#limits.maxMessages, {
      advance: (outlet) => this.#advance(outlet),
      left: (outlet) => this.#left(outlet),
    });
  }

  /** Drops who reads too slowly; to be called about once a second. */
  check(): void {
    this.#checks++;
    const { hurry, patience } = this.#limits;
    for (const [outlet, { since }] of this.#underway) {
      if (this.#checks - since <= (this.#waiting.size > 0 ? hurry : patience)) return;
      outlet.drop("it does not read");
    }
  }

  #advance(outlet: QueuedOutlet): void {
    const next = outlet.first;
    if (next === undefined || this.#underway.has(outlet)) return;
    const bytes = next.message.byteLength;
    if (this.#bytes > 0 && this.#bytes + bytes > this.#limits.maxBytes) {
      this.#waiting.add(outlet);
      return;
    }
    this.#waiting.delete(outlet);
    this.#bytes += bytes;
    this.#underway.set(outlet, { bytes, since: this.#checks });
    outlet.writeFirst(() => this.#left(outlet));
  }

  #left(outlet: QueuedOutlet): void {
    this.#waiting.delete(outlet);
    this.#bytes -= this.#underway.get(outlet)?.bytes ?? 0;
    this.#underway.delete(outlet);
    for (const other of this.#waiting) {
      this.#advance(other);
      if (this.#waiting.has(other)) break; // there is no room
    }
    this.#advance(outlet);
  }
}

interface Pace {
  advance(outlet: QueuedOutlet): void;
  left(outlet: QueuedOutlet): void;
}

class QueuedOutlet implements Outlet {
  readonly #reader: Reader;
  readonly #maxMessages: number;
  readonly #pace: Pace;
  #queue: Waiting[] = [];
  #closed = false;

  constructor(reader: Reader, maxMessages: number, pace: Pace) {
    this.#reader = reader;
    this.#maxMessages = maxMessages;
    this.#pace = pace;
  }

  get first(): Waiting | undefined {
    return this.#queue[0];
  }

  send(message: Buffer, subject?: string): void {
    if (this.#closed) return;
    if (subject !== undefined) this.#queue = this.#queue.filter((waiting) => waiting.subject !== subject);
    if (this.#queue.length >= this.#maxMessages) {
      this.drop(`${this.#queue.length} messages wait for it`);
      return;
    }
    this.#queue.push({ message, subject });
    this.#pace.advance(this);
  }

  writeFirst(taken: () => void): void {
    const next = this.#queue.shift();
    if (next !== undefined) this.#reader.write(next.message, () => this.#closed || taken());
  }

  drop(why: string): void {
    this.close();
    this.#reader.drop(why);
  }

  close(): void {
    if (this.#closed) return;
    this.#closed = true;
    this.#queue = [];
    this.#pace.left(this);
  }
}
