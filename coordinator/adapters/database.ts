// One PostgreSQL, the embedded one or any other by URL, migrated to the newest schema before anybody uses it.
import { Socket } from "node:net";
import { join } from "node:path";
import { Kysely, PostgresDialect } from "kysely";
import pg from "pg";
import Postgrator from "postgrator";
import type { Logger } from "../../runtime/log.ts";
import { packageRoot } from "../../runtime/package-root.ts";
import { DatabaseClaim } from "./database-claim.ts";
import { startEmbeddedPostgres } from "./embedded-postgres.ts";
import type { Tables } from "./tables.ts";

export interface Database {
  readonly kysely: Kysely<Tables>;
  readonly pool: pg.Pool;
  /** False for an operator's PostgreSQL, which any number of coordinators may share. */
  readonly exclusive: boolean;
  /** Rejects when an exclusive one is there no more and does not come back: only another start helps. */
  readonly lost: Promise<never>;
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
  const connect = (name: string, settings?: pg.ClientConfig) =>
    connectOnce({ ...connection, ...settings, application_name: name });
  const claim =
    embedded &&
    (await DatabaseClaim.take({
      connect: () => connect("flead-claim"),
      startServer: embedded.start,
      where: dataDir,
      log,
    }));
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
  const release = () => Promise.all([pool.end(), claim?.release()]);
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
    lost: claim?.lost ?? new Promise<never>(() => undefined),
    connect,
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
