// A PostgreSQL that several coordinators share by URL: the embedded server, started by the test instead of by one of them.
import { join } from "node:path";
import { startEmbeddedPostgres } from "../../coordinator/adapters/embedded-postgres.ts";

export interface SharedPostgres {
  readonly url: string;
  stop(): Promise<void>;
}

export async function startSharedPostgres(folder: string): Promise<SharedPostgres> {
  const { connection, stop } = await startEmbeddedPostgres(join(folder, "server"));
  const { user, database, host } = connection;
  return { url: `postgres://${user}@localhost/${database}?host=${encodeURIComponent(host)}`, stop };
}
