// The gateway's state in one SQLite file.
import { statSync } from "node:fs";
import { dirname } from "node:path";
import type { OutgoingMessage } from "../core/alert.ts";
import type { AgentStore, Counter, StoreState } from "../ports/agent-store.ts";
import type { Update, WindowSummaries } from "../ports/coordinator-link.ts";
import { Ballast, freeBytes } from "./ballast.ts";
import { SqliteAlerts } from "./sqlite-alerts.ts";
import { Counters } from "./sqlite-counters.ts";
import { openFile, suspect } from "./sqlite-file.ts";
import { SqliteLearning } from "./sqlite-learning.ts";
import { SqliteLedger } from "./sqlite-ledger.ts";
import { Outbox } from "./sqlite-outbox.ts";
import { Room } from "./sqlite-room.ts";
import { SqliteSummaries } from "./sqlite-summaries.ts";

const MAX_OUTBOX_BYTES = 16 * 1024 * 1024;

export interface StoreSettings {
  readonly nowMs: number;
  /** For each kind of outgoing thing. */
  readonly maxOutboxBytes?: number;
  /** Of the file without its journal, which is at most 4 MiB when it rests; none: as the disk allows. */
  readonly maxBytes?: number;
  /** 0: no ballast. */
  readonly ballastBytes?: number;
}

export class SqliteStore implements AgentStore {
  readonly learning: SqliteLearning;
  readonly alerts: SqliteAlerts;
  readonly summaries: SqliteSummaries;
  readonly ledger: SqliteLedger;
  /** Where a damaged file was put when the store was opened. */
  readonly quarantined: string | null;
  readonly #path: string;
  readonly #close: () => void;
  readonly #updates: Outbox<Update>;
  readonly #messages: Outbox<OutgoingMessage>;
  readonly #windows: Outbox<WindowSummaries>;
  readonly #counters: Counters;
  readonly #ballast: Ballast | null;
  readonly #room: Room;

  /** Throws as openFile does. */
  constructor(path: string, { nowMs, maxOutboxBytes = MAX_OUTBOX_BYTES, maxBytes, ballastBytes = 0 }: StoreSettings) {
    const { database, quarantined, quarantinedFiles, close } = openFile(path, nowMs, maxBytes);
    this.#path = path;
    this.#close = close;
    this.quarantined = quarantined;
    this.#counters = new Counters(database);
    const settings = { counters: this.#counters, maxBytes: maxOutboxBytes };
    this.#updates = new Outbox(database, "update", settings);
    this.#messages = new Outbox(database, "alert", settings);
    this.#windows = new Outbox(database, "window", { ...settings, partsOf: ({ windows }) => windows.length });
    this.#ballast = ballastBytes === 0 ? null : new Ballast(`${path}.ballast`, ballastBytes);
    const queues = { summaries: this.#windows, updates: this.#updates };
    this.#room = new Room({ database, queues, ballast: this.#ballast, onDamage: () => suspect(path) });
    this.learning = new SqliteLearning({
      database,
      updates: this.#updates,
      counters: this.#counters,
      room: this.#room,
    });
    this.alerts = new SqliteAlerts(database, this.#messages, this.#room);
    this.summaries = new SqliteSummaries(database, this.#windows, this.#room);
    this.ledger = new SqliteLedger(database, this.#room);
    if (quarantined !== null)
      this.#room.write("learning", () => this.#counters.add("quarantined_file", quarantinedFiles));
    this.keepHouse();
  }

  transaction<Result>(work: () => Result): Result {
    return this.#room.write("summaries", work);
  }

  counter(name: Counter): number {
    return this.#counters.get(name);
  }

  outboxBytes(): { updates: number; alerts: number; summaries: number } {
    return { updates: this.#updates.bytes(), alerts: this.#messages.bytes(), summaries: this.#windows.bytes() };
  }

  state(): StoreState {
    const sizes = [this.#path, `${this.#path}-wal`].map((path) => statSync(path, { throwIfNoEntry: false })?.size ?? 0);
    return {
      bytes: sizes.reduce((sum, size) => sum + size, 0),
      freeBytes: freeBytes(dirname(this.#path)),
      ballast: this.#ballast?.held ?? null,
      damaged: this.#room.damaged,
      unwritable: this.#room.failing,
      activeEpisodes: this.alerts.activeEpisodes(),
    };
  }

  keepHouse(): void {
    this.#room.keepHouse();
  }

  close(): void {
    this.#close();
  }
}
