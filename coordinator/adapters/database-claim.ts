// The claim on an embedded database: one process has it to itself, and starts its server again when that ends by itself.
import type pg from "pg";
import type { Logger } from "../../runtime/log.ts";
import { backoffMs, pause } from "../../runtime/retry.ts";

/** Whoever holds it has this embedded database, which ends with its coordinator, to itself. */
const COORDINATOR_LOCK = 4_021_983;
/** A coordinator that was just killed may still be letting go. */
const LOCK_ATTEMPTS = 10;
const LOCK_RETRY_MS = 300;
const RESTARTS = 5;
const RESTART_BACKOFF = { firstMs: 500, maxMs: 8_000 };

class DatabaseInUseError extends Error {
  constructor(where: string) {
    super(`another coordinator uses the database of ${where}: stop it, or give this one a database of its own`);
    this.name = "DatabaseInUseError";
  }
}

interface ClaimSettings {
  readonly connect: () => Promise<pg.Client>;
  /** Resolves when the server runs, which it may do already. */
  readonly startServer: () => Promise<void>;
  /** The data folder. */
  readonly where: string;
  readonly log: Logger;
}

/** Held by a connection, so that it ends with the process, however that ends. */
export class DatabaseClaim {
  readonly #settings: ClaimSettings;
  readonly #released = new AbortController();
  readonly #lost = Promise.withResolvers<never>();
  #client: pg.Client;
  #renewal: Promise<void> = Promise.resolve();

  /** Throws DatabaseInUseError while another process has it. */
  static async take(settings: ClaimSettings): Promise<DatabaseClaim> {
    return new DatabaseClaim(settings, await locked(settings));
  }

  private constructor(settings: ClaimSettings, client: pg.Client) {
    this.#settings = settings;
    this.#client = client;
    this.#lost.promise.catch(() => undefined); // whoever asks for it hears of it
    this.#watch();
  }

  /** Rejects when the server does not come back, or another process has the database by then. */
  get lost(): Promise<never> {
    return this.#lost.promise;
  }

  async release(): Promise<void> {
    this.#released.abort();
    await this.#renewal;
    await this.#client.end();
  }

  #watch(): void {
    this.#client.once("end", () => {
      if (!this.#released.signal.aborted) this.#renewal = this.#renew().catch(this.#lost.reject);
    });
  }

  async #renew(): Promise<void> {
    const { startServer, where, log } = this.#settings;
    const { signal } = this.#released;
    log.error({ where }, "the embedded PostgreSQL ended, or went back to its last checkpoint: it is started again");
    let last: unknown;
    for (let attempt = 0; attempt < RESTARTS && !signal.aborted; attempt++) {
      try {
        await startServer();
        this.#client = await locked(this.#settings);
        this.#watch();
        log.info({ where }, "the embedded PostgreSQL is there again");
        return;
      } catch (error) {
        if (error instanceof DatabaseInUseError) throw error;
        last = error;
        log.error({ err: error, attempt }, "the embedded PostgreSQL was not started again");
        await pause(backoffMs(attempt, RESTART_BACKOFF, Math.random), signal);
      }
    }
    if (!signal.aborted) throw new Error(`the embedded PostgreSQL of ${where} does not come back`, { cause: last });
  }
}

async function locked({ connect, where }: ClaimSettings): Promise<pg.Client> {
  const client = await connect();
  try {
    for (let attempt = 0; attempt < LOCK_ATTEMPTS; attempt++) {
      const { rows } = await client.query("SELECT pg_try_advisory_lock($1) AS taken", [COORDINATOR_LOCK]);
      if (rows[0].taken) return client;
      await pause(LOCK_RETRY_MS);
    }
    throw new DatabaseInUseError(where);
  } catch (error) {
    await client.end();
    throw error;
  }
}
