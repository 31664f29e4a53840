// The homes that the coordinator's database can have, each the real thing, for suites that must pass on all of them.
import { join } from "node:path";
import pg from "pg";
import { afterAll, beforeAll, describe } from "vitest";
import { type Database, openDatabase } from "../../coordinator/adapters/database.ts";
import { startEmbeddedPostgres } from "../../coordinator/adapters/embedded-postgres.ts";
import { createLogger } from "../../runtime/log.ts";
import { hasSystemPostgres, startSystemPostgres } from "./system-postgres.ts";
import { temporaryFolder } from "./temp.ts";
import { startTimescale } from "./timescale.ts";

interface Server {
  readonly connection: pg.ClientConfig;
  /** What openDatabase is told; absent: it finds the embedded server by its folder, and stops it when it closes. */
  readonly url?: string;
  stop(): Promise<void>;
}

const byUrl = ({ url, stop }: { url: string; stop(): Promise<void> }): Server => ({
  connection: { connectionString: url },
  url,
  stop,
});

const HOMES = {
  "embedded PostgreSQL": (folder: string): Promise<Server> => startEmbeddedPostgres(dataDir(folder)),
  "PostgreSQL 15": async (folder: string) => byUrl(await startSystemPostgres(folder)),
  TimescaleDB: async () => byUrl(await startTimescale()),
} as const;

const dataDir = (folder: string) => join(folder, "data");

export type HomeName = keyof typeof HOMES;

export interface Home {
  readonly name: HomeName;
  /** When the suite begins it holds what `prepare` left. */
  readonly database: Database;
  /** Closes it and opens it again: what is durable is there. */
  reopen(): Promise<void>;
}

const log = createLogger("test", "silent");

type Prepare = (client: pg.Client) => Promise<void>;

/**
 * Runs `suite` on each home, after `prepare` has met the server without a schema. PostgreSQL 15 is skipped by name where
 * the machine lacks it.
 */
export function onEveryHome(suite: (home: Home) => void, prepare?: Prepare): void {
  for (const name of Object.keys(HOMES) as HomeName[]) {
    describe.skipIf(name === "PostgreSQL 15" && !hasSystemPostgres())(name, () => suite(openHome(name, prepare)));
  }
}

function openHome(name: HomeName, prepare: Prepare = async () => undefined): Home {
  const folder = temporaryFolder("home");
  let server: Server | undefined;
  let database: Database | undefined;
  const open = async () => openDatabase({ url: server?.url, dataDir: dataDir(folder), log });
  beforeAll(async () => {
    server = await HOMES[name](folder);
    const client = new pg.Client(server.connection);
    await client.connect();
    await prepare(client).finally(() => client.end());
    database = await open();
  });
  afterAll(async () => {
    await database?.close();
    await server?.stop();
  });
  return {
    name,
    get database() {
      if (database === undefined) throw new Error(`${name} is not open`);
      return database;
    },
    reopen: async () => {
      await database?.close();
      database = await open();
    },
  };
}
