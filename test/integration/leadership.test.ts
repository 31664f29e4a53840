// Who would lead, over a network that falls silent: nothing arrives any more, and no connection ends.
import { mkdirSync } from "node:fs";
import { join } from "node:path";
import { afterAll, beforeAll, expect, test } from "vitest";
import { type Database, openDatabase } from "../../coordinator/adapters/database.ts";
import { campaign } from "../../coordinator/adapters/leadership.ts";
import { createLogger } from "../../runtime/log.ts";
import { aborted } from "../../runtime/shutdown.ts";
import { eventually } from "../support/eventually.ts";
import { type Relay, startRelay } from "../support/relay.ts";
import { type SharedPostgres, startSharedPostgres } from "../support/shared-postgres.ts";
import { temporaryFolder } from "../support/temp.ts";

const folder = temporaryFolder("leadership");
const SOCKET = ".s.PGSQL.5432";
const log = createLogger("test", "silent");

let postgres: SharedPostgres;
let network: Relay;
let near: Database;
/** Its connections go through the network. */
let far: Database;

beforeAll(async () => {
  postgres = await startSharedPostgres(folder);
  const away = join(folder, "away");
  mkdirSync(away);
  network = await startRelay({ path: join(away, SOCKET) }, { path: join(postgres.socketFolder, SOCKET) });
  near = await openDatabase({ url: postgres.url, dataDir: folder, log });
  const url = `postgres://flead@localhost/postgres?host=${encodeURIComponent(away)}`;
  far = await openDatabase({ url, dataDir: folder, log });
});

afterAll(async () => {
  await network?.close();
  await Promise.all([near?.close(), far?.close()]);
  await postgres?.stop();
});

/** Runs until it is stopped; `terms` are those that began. */
function candidate(database: Database, replicaId: string) {
  const stop = new AbortController();
  let terms = 0;
  const lead = (signal: AbortSignal) => {
    terms++;
    return aborted(signal);
  };
  const over = campaign({ database, replicaId, lead, log }, stop.signal);
  return {
    terms: () => terms,
    stop: () => {
      stop.abort();
      return over;
    },
  };
}

test("a leader whose connection falls silent leads again by another one", async () => {
  const leader = candidate(far, "leader");
  await eventually("it leads", () => leader.terms() === 1 || undefined);
  network.silence(true);
  await eventually("it leads again", () => leader.terms() === 2 || undefined);
  await leader.stop();
});

test("one that waits for its turn when its connection falls silent leads when the leader is gone", async () => {
  const leader = candidate(near, "leader");
  await eventually("it leads", () => leader.terms() === 1 || undefined);
  const waiting = candidate(far, "waiting");
  await eventually("the other one has asked", async () => {
    const { rows } = await near.pool.query(
      "SELECT FROM pg_stat_activity WHERE application_name = 'flead-leader waiting' AND query LIKE '%try_advisory%'",
    );
    return rows.length > 0 || undefined;
  });
  network.silence(true);
  await leader.stop();
  await eventually("it leads", () => waiting.terms() === 1 || undefined);
  expect(leader.terms()).toBe(1);
  await waiting.stop();
});
