// The gateway's state in one SQLite file.
import type Database from "better-sqlite3";
import type { OutgoingMessage } from "../core/alert.ts";
import type { AgentStore, Counter } from "../ports/agent-store.ts";
import type { Update, WindowSummaries } from "../ports/coordinator-link.ts";
import { SqliteAlerts } from "./sqlite-alerts.ts";
import { Counters } from "./sqlite-counters.ts";
import { openFile } from "./sqlite-file.ts";
import { SqliteLearning } from "./sqlite-learning.ts";
import { Outbox } from "./sqlite-outbox.ts";
import { SqliteSummaries } from "./sqlite-summaries.ts";

const MAX_OUTBOX_BYTES = 16 * 1024 * 1024;

export class SqliteStore implements AgentStore {
  readonly learning: SqliteLearning;
  readonly alerts: SqliteAlerts;
  readonly summaries: SqliteSummaries;
  /** Where a damaged file was put when the store was opened. */
  readonly quarantined: string | null;
  readonly #database: Database.Database;
  readonly #updates: Outbox<Update>;
  readonly #messages: Outbox<OutgoingMessage>;
  readonly #windows: Outbox<WindowSummaries>;
  readonly #counters: Counters;

  /** `maxOutboxBytes` for each kind of outgoing thing. Throws as openFile does. */
  constructor(path: string, { nowMs, maxOutboxBytes = MAX_OUTBOX_BYTES }: { nowMs: number; maxOutboxBytes?: number }) {
    const { database, quarantined } = openFile(path, nowMs);
    this.#database = database;
    this.quarantined = quarantined;
    this.#counters = new Counters(database);
    const settings = { counters: this.#counters, maxBytes: maxOutboxBytes };
    this.#updates = new Outbox(database, "update", settings);
    this.#messages = new Outbox(database, "alert", settings);
    this.#windows = new Outbox(database, "window", { ...settings, partsOf: ({ windows }) => windows.length });
    this.learning = new SqliteLearning(database, this.#updates, this.#counters);
    this.alerts = new SqliteAlerts(database, this.#messages);
    this.summaries = new SqliteSummaries(database, this.#windows);
  }

  transaction<Result>(work: () => Result): Result {
    return this.#database.transaction(work)();
  }

  counter(name: Counter): number {
    return this.#counters.get(name);
  }

  outboxBytes(): { updates: number; alerts: number; summaries: number } {
    return { updates: this.#updates.bytes(), alerts: this.#messages.bytes(), summaries: this.#windows.bytes() };
  }

  close(): void {
    this.#database.close();
  }
}
