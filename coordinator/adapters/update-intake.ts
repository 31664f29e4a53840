// Updates on their way into the database: they wait within limits, are committed together, and are answered then.
import type pg from "pg";
import { backoffMs } from "../../runtime/retry.ts";
import { type FederationStore, type NewUpdate, NotStoredError } from "../ports/federation-store.ts";
import { BinaryArrays } from "./binary-arrays.ts";
import { isOfTheData } from "./data-error.ts";
import type { Database } from "./database.ts";
import { GroupCommit } from "./group-commit.ts";
import { type ArrivedUpdate, type InsertOutcome as Inserted, insertUpdates } from "./insert-updates.ts";
import { type OpenLimits, OpenUpdates, readOpenUpdates } from "./open-updates.ts";

export interface IntakeLimits extends OpenLimits {
  /** For their commit, in all. */
  readonly maxWaitingUpdates: number;
  readonly maxWaitingBytes: number;
}

export interface UpdateIntake extends Pick<FederationStore, "addUpdate" | "addRefusal"> {
  /** Resolves when more updates can be taken in: whoever reads them off a connection waits for it before the next. */
  whenCalm(): Promise<void>;
  /** Resolves when what waited is answered. */
  close(): Promise<void>;
}

const WRITERS = 2;
const BATCH_UPDATES = 512;
const BATCH_BYTES = 2 * 1024 * 1024;
/** Of an update, beside its delta, while it waits. */
const OVERHEAD_BYTES = 1024;
/** A batch whose outcome is not known by then is answered as not stored, and its connection given up. */
const BATCH_TIMEOUT_MS = 5_000;
/** The server gives up before that, so that no statement outlives its connection for long. */
const STATEMENT_TIMEOUT_MS = 4_000;
/** For so long nothing is tried after a failure, growing with each one. */
const AWAY = { firstMs: 250, maxMs: 5_000 };
const RETRY_AWAY = { firstMs: 1_000, maxMs: 30_000 };
const RETRY_BUSY_MS = 1_000;
const RETRY_BUSY_MAX_MS = 30_000;
const RETRY_OPEN_MS = 5_000;
const COUNT_OPEN_MS = 2_000;

/** "impossible": the database refuses the update itself, whatever it comes with. */
type InsertOutcome = Inserted | "impossible";

/** Between a failure and `awayUntilMs` nothing is tried, so that an outage costs neither memory nor waiting. */
export function openIntake(database: Pick<Database, "connect" | "kysely">, limits: IntakeLimits): UpdateIntake {
  const open = new OpenUpdates(limits, () => readOpenUpdates(database.kysely));
  const writers = Array.from({ length: WRITERS }, () => new BatchWriter(database));
  let failures = 0;
  let awayUntilMs = 0;
  let refusedBusy = 0;

  const notStored = (message: string, cause?: unknown) =>
    new NotStoredError("database", message, backoffMs(failures, RETRY_AWAY, Math.random), cause);
  const isAway = () => performance.now() < awayUntilMs;

  const queue = new GroupCommit<ArrivedUpdate, InsertOutcome>({
    limits: {
      maxItems: limits.maxWaitingUpdates,
      maxBytes: limits.maxWaitingBytes,
      batchItems: BATCH_UPDATES,
      batchBytes: BATCH_BYTES,
    },
    writers: WRITERS,
    bytesOf: ({ update }) => update.delta.byteLength + OVERHEAD_BYTES,
    write: async (batch, writer) => {
      if (isAway()) throw new Error("the batch before it failed");
      try {
        const outcomes = await (writers[writer] as BatchWriter).write(batch);
        failures = 0;
        return outcomes;
      } catch (error) {
        awayUntilMs = performance.now() + backoffMs(failures++, AWAY, Math.random);
        throw error;
      }
    },
  });

  /** The longer the line of those that were refused, the later they are to come. */
  const busy = () => {
    refusedBusy++;
    const waitMs = RETRY_BUSY_MS * (1 + refusedBusy / limits.maxWaitingUpdates) * (1 + Math.random());
    return new NotStoredError("busy", "too many updates wait for their commit", Math.min(waitMs, RETRY_BUSY_MAX_MS));
  };

  const add = async (arrived: ArrivedUpdate): Promise<Inserted> => {
    if (isAway()) throw notStored("the database does not answer");
    if (!queue.hasRoomFor(arrived)) throw busy();
    if (queue.isCalm) refusedBusy = 0;
    const outcome = await queue.add(arrived).catch((error: Error) => {
      throw notStored(`the database did not store it: ${error.message}`, error);
    });
    if (outcome === "impossible") throw notStored("the database can't take it as it is");
    return outcome;
  };

  /** The last of each id that waits for its commit: one that comes again meanwhile is told what that one became. */
  const underway = new Map<string, Promise<unknown>>();
  const addInTurn = async (arrived: ArrivedUpdate): Promise<Inserted> => {
    const { updateId } = arrived.update;
    const before = underway.get(updateId);
    const added = before === undefined ? add(arrived) : before.then(() => add(arrived));
    const settled = added.catch(() => undefined);
    underway.set(updateId, settled);
    try {
      return await added;
    } finally {
      if (underway.get(updateId) === settled) underway.delete(updateId);
    }
  };

  const counting = setInterval(() => {
    if (!isAway()) open.refresh().catch(() => undefined); // what was known stands
  }, COUNT_OPEN_MS).unref();

  return {
    addUpdate: async (update) => {
      const reached = open.limitReached(update);
      if (reached !== null) throw new NotStoredError("open_updates", reached, RETRY_OPEN_MS * (1 + Math.random()));
      const outcome = await addInTurn({ update, refusal: null });
      if (outcome === "stored") open.stored(update);
      return outcome === "stored" ? "stored" : "known";
    },
    addRefusal: async (update, refusal) => {
      const outcome = await addInTurn({ update: withoutDelta(update), refusal });
      return outcome === "refused" ? "refused" : "known";
    },
    whenCalm: () => queue.whenCalm(),
    close: async () => {
      clearInterval(counting);
      await queue.settled();
      for (const writer of writers) writer.close();
    },
  };
}

const withoutDelta = (update: NewUpdate): NewUpdate => ({ ...update, delta: new Uint8Array() });

/** One batch at a time, on a connection of its own that is made anew after a failure. */
class BatchWriter {
  readonly #database: Pick<Database, "connect">;
  /** A batch's deltas, and its other columns. */
  readonly #arrays = new BinaryArrays(BATCH_BYTES + BATCH_UPDATES * OVERHEAD_BYTES);
  #client: pg.Client | null = null;

  constructor(database: Pick<Database, "connect">) {
    this.#database = database;
  }

  async write(batch: readonly ArrivedUpdate[]): Promise<InsertOutcome[]> {
    try {
      this.#client ??= await this.#connect();
      return await this.#insert(this.#client, batch);
    } catch (error) {
      this.close();
      throw error;
    }
  }

  /** Does not wait for a server that may not answer. */
  close(): void {
    this.#client?.end().catch(() => undefined);
    this.#client = null;
  }

  async #connect(): Promise<pg.Client> {
    const client = await this.#database.connect("flead-intake", {
      connectionTimeoutMillis: BATCH_TIMEOUT_MS,
      statement_timeout: STATEMENT_TIMEOUT_MS,
    });
    client.once("end", () => {
      if (this.#client === client) this.#client = null;
    });
    return client;
  }

  /** What the database can't take of one update is not to hurt the others of its batch. */
  async #insert(client: pg.Client, batch: readonly ArrivedUpdate[]): Promise<InsertOutcome[]> {
    try {
      return await insertUpdates(client, this.#arrays, batch, BATCH_TIMEOUT_MS);
    } catch (error) {
      if (!isOfTheData(error as Error)) throw error;
      if (batch.length === 1) return ["impossible"];
      const half = batch.length >> 1;
      return [
        ...(await this.#insert(client, batch.slice(0, half))),
        ...(await this.#insert(client, batch.slice(half))),
      ];
    }
  }
}
