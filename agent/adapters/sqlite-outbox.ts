// One kind of outgoing thing in the outbox table: first in, first out, bounded in bytes, the oldest dropped and counted.
import { deserialize, serialize } from "node:v8";
import type Database from "better-sqlite3";
import type { Counter } from "../ports/agent-store.ts";
import type { Counters } from "./sqlite-counters.ts";
import type { Droppable } from "./sqlite-room.ts";

interface Row {
  readonly sequence: number;
  readonly key: string | null;
  readonly body: Buffer;
}

export interface OutboxSettings<Item> {
  readonly counters: Counters;
  readonly maxBytes: number;
  readonly partsOf?: (item: Item) => number;
}

export class Outbox<Item> implements Droppable {
  readonly #counters: Counters;
  readonly #dropped: Counter;
  readonly #maxBytes: number;
  readonly #partsOf: (item: Item) => number;
  readonly #add: Database.Statement<[string | null, number, Buffer]>;
  readonly #bytes: Database.Statement<[], { bytes: number }>;
  readonly #oldest: Database.Statement<[number], Row>;
  readonly #all: Database.Statement<[], Row>;
  readonly #sizes: Database.Statement<[], { sequence: number; bytes: number }>;
  readonly #keys: Database.Statement<[number], { key: string }>;
  readonly #byKey: Database.Statement<[string], Row>;
  readonly #remove: Database.Statement<[number]>;
  readonly #removeKey: Database.Statement<[string]>;
  readonly #clear: Database.Statement<[]>;

  /** `partsOf`: what one item counts for when it is dropped. */
  constructor(
    database: Database.Database,
    kind: "update" | "alert" | "window",
    { counters, maxBytes, partsOf = () => 1 }: OutboxSettings<Item>,
  ) {
    this.#counters = counters;
    this.#dropped = `dropped_${kind}`;
    this.#maxBytes = maxBytes;
    this.#partsOf = partsOf;
    const mine = `kind = '${kind}'`;
    this.#add = database.prepare(`INSERT INTO outbox (kind, key, bytes, body) VALUES ('${kind}', ?, ?, ?)`);
    this.#bytes = database.prepare(`SELECT bytes FROM outbox_bytes WHERE ${mine}`);
    this.#oldest = database.prepare(`SELECT sequence, key, body FROM outbox WHERE ${mine} ORDER BY sequence LIMIT ?`);
    this.#all = database.prepare(`SELECT sequence, key, body FROM outbox WHERE ${mine}`);
    this.#sizes = database.prepare(`SELECT sequence, bytes FROM outbox WHERE ${mine} ORDER BY sequence`);
    this.#keys = database.prepare(`SELECT key FROM outbox WHERE ${mine} ORDER BY sequence LIMIT ?`);
    this.#byKey = database.prepare(`SELECT sequence, key, body FROM outbox WHERE ${mine} AND key = ?`);
    this.#remove = database.prepare(`DELETE FROM outbox WHERE ${mine} AND sequence = ?`);
    this.#removeKey = database.prepare(`DELETE FROM outbox WHERE ${mine} AND key = ?`);
    this.#clear = database.prepare(`DELETE FROM outbox WHERE ${mine}`);
  }

  add(item: Item, key: string | null): void {
    const body = serialize(item);
    this.#add.run(key, body.byteLength, body);
    while (this.bytes() > this.#maxBytes && this.dropOldest(1));
  }

  dropOldest(bytes: number): boolean {
    let dropped = 0;
    while (dropped < bytes) {
      const [oldest] = this.#oldest.all(1);
      if (oldest === undefined) break;
      this.#remove.run(oldest.sequence);
      this.#counters.add(this.#dropped, this.#partsOf(deserialize(oldest.body) as Item));
      dropped += oldest.body.byteLength;
    }
    return dropped > 0;
  }

  /** How many left. */
  removeWhere(leaves: (item: Item) => boolean): number {
    const leaving = this.#all.all().filter(({ body }) => leaves(deserialize(body) as Item));
    for (const { sequence } of leaving) this.#remove.run(sequence);
    return leaving.length;
  }

  bytes(): number {
    return this.#bytes.get()?.bytes ?? 0;
  }

  oldest(limit: number): { readonly sequence: number; readonly item: Item }[] {
    return this.#oldest.all(limit).map(({ sequence, body }) => ({ sequence, item: deserialize(body) as Item }));
  }

  /** How many of the oldest fit into `maxBytes` together. */
  fitting(maxBytes: number): number {
    let [count, sum] = [0, 0];
    for (const { bytes } of this.#sizes.iterate()) {
      sum += bytes;
      if (sum > maxBytes) break;
      count++;
    }
    return count;
  }

  oldestKeys(limit: number): string[] {
    return this.#keys.all(limit).map(({ key }) => key);
  }

  get(key: string): Item | null {
    const row = this.#byKey.get(key);
    return row === undefined ? null : (deserialize(row.body) as Item);
  }

  remove(sequence: number): void {
    this.#remove.run(sequence);
  }

  removeKey(key: string): void {
    this.#removeKey.run(key);
  }

  clear(): void {
    this.#clear.run();
  }
}
