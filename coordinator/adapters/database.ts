// One PostgreSQL, the embedded one or any other by URL, migrated to the newest schema before anybody uses it.
import { Socket } from "node:net";
import { join } from "node:path";
import { Kysely, PostgresDialect } from "kysely";
import pg from "pg";
import Postgrator from "postgrator";
import type { Logger } from "../../runtime/log.ts";
import { packageRoot } from "../../runtime/package-root.ts";
import { pause } from "../../runtime/retry.ts";
import { startEmbeddedPostgres } from "./embedded-postgres.ts";
import type { Tables } from "./tables.ts";

export interface Database {
  readonly kysely: Kysely<Tables>;
  readonly pool: pg.Pool;
  /** False for an operator's PostgreSQL, which any number of coordinators may share. */
  readonly exclusive: boolean;
  /** A connection of the caller's own, to be ended by it, for what lasts as long as the connection does. */
  connect(name: string, settings?: pg.ClientConfig): Promise<pg.Client>;
  close(): Promise<void>;
}

export interface DatabaseSettings {
  /** A PostgreSQL of the operator's; absent: the embedded one in `dataDir`. */
  readonly url?: string | undefined;
  readonly dataDir: string;
  readonly log: Logger;
}

const POOL_CONNECTIONS = 8;
/** Whoever holds it has this embedded database, which ends with its coordinator, to itself. */
const COORDINATOR_LOCK = 4_021_983;
/** A coordinator that was just killed may still be letting go. */
const LOCK_ATTEMPTS = 10;
const LOCK_RETRY_MS = 300;
const CONNECT_TIMEOUT_MS = 10_000;
const STATEMENT_TIMEOUT_MS = 60_000;
/** A server that says nothing for longer than any statement takes is not there, whatever the network says. */
const SILENCE_TIMEOUT_MS = STATEMENT_TIMEOUT_MS + 5_000;
/** Any constant: replicas that start together migrate one after the other. */
const MIGRATION_LOCK = 4_021_982;

/** Throws DatabaseInUseError, leaving the server to it, while another coordinator has the embedded database. */
export async function openDatabase({ url, dataDir, log }: DatabaseSettings): Promise<Database> {
  const embedded = url === undefined ? await startEmbeddedPostgres(dataDir) : null;
  const connection = embedded ? embedded.connection : { connectionString: url };
  const claim = embedded ? await claimDatabase(embedded.connection, dataDir) : null;
  claim?.on("error", (error) => log.error({ err: error }, "the connection that claims the database was lost"));
  const pool = new pg.Pool({
    ...connection,
    max: POOL_CONNECTIONS,
    connectionTimeoutMillis: CONNECT_TIMEOUT_MS,
    statement_timeout: STATEMENT_TIMEOUT_MS,
    stream: () => socketThatEnds(SILENCE_TIMEOUT_MS),
    application_name: "flead-coordinator",
    types: {
      getTypeParser: (oid, format) => (oid === pg.types.builtins.INT8 ? Number : pg.types.getTypeParser(oid, format)),
    },
  });
  // A connection may break between two statements of a transaction: the next one fails, and the process must not.
  pool.on("connect", (client) => client.on("error", () => undefined));
  pool.on("error", (error) => log.error({ err: error }, "an idle database connection was lost"));
  const release = () => Promise.all([pool.end(), claim?.end()]);
  try {
    await migrate(pool);
  } catch (error) {
    await release();
    await embedded?.stop();
    throw error;
  }
  return {
    kysely: new Kysely<Tables>({ dialect: new PostgresDialect({ pool }) }),
    pool,
    exclusive: embedded !== null,
    connect: (name, settings) => connectOnce({ ...connection, ...settings, application_name: name }),
    close: async () => {
      await release();
      await embedded?.stop();
    },
  };
}

/** Once nothing came and nothing went for `ms`. */
function socketThatEnds(ms: number): Socket {
  const socket = new Socket();
  return socket.setTimeout(ms, () => socket.destroy(new Error(`the database said nothing for ${ms} ms`)));
}

async function connectOnce(connection: pg.ClientConfig): Promise<pg.Client> {
  const client = new pg.Client({ connectionTimeoutMillis: CONNECT_TIMEOUT_MS, keepAlive: true, ...connection });
  client.on("error", () => undefined); // its owner hears it too; without anybody it would end the process
  await client.connect();
  return client;
}

export class DatabaseInUseError extends Error {
  constructor(where: string) {
    super(`another coordinator uses the database of ${where}: stop it, or give this one a database of its own`);
    this.name = "DatabaseInUseError";
  }
}

/** A connection that claims the database for this process; the claim ends with it, however the process ends. */
async function claimDatabase(connection: pg.ClientConfig, where: string): Promise<pg.Client> {
  const client = await connectOnce({ ...connection, application_name: "flead-claim" });
  for (let attempt = 0; attempt < LOCK_ATTEMPTS; attempt++) {
    const { rows } = await client.query("SELECT pg_try_advisory_lock($1) AS taken", [COORDINATOR_LOCK]);
    if (rows[0].taken) return client;
    await pause(LOCK_RETRY_MS);
  }
  await client.end();
  throw new DatabaseInUseError(where);
}

/** All or nothing: a coordinator that is killed here leaves no half of a schema behind. */
async function migrate(pool: pg.Pool): Promise<void> {
  const client = await pool.connect();
  try {
    await client.query("BEGIN");
    await client.query("SELECT pg_advisory_xact_lock($1)", [MIGRATION_LOCK]);
    const migrations = new Postgrator({
      driver: "pg",
      migrationPattern: join(packageRoot, "coordinator/adapters/sql/*.sql"),
      schemaTable: "schema_versions",
      execQuery: (query) => client.query(query),
    });
    await migrations.migrate();
    await client.query("COMMIT");
    client.release();
  } catch (error) {
    client.release(true); // the connection ends, and its transaction with it
    throw error;
  }
}
