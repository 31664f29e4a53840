// Two coordinators on one database against one: whether they carry more, each with a fleet of its own.
import { mkdir, readFile } from "node:fs/promises";
import { join } from "node:path";
import { startEmbeddedPostgres } from "../../coordinator/adapters/embedded-postgres.ts";
import { pause } from "../../runtime/retry.ts";
import { LONG_ROUNDS } from "./cohorts.ts";
import { BenchFleet, booksAgree, COHORT, stretch } from "./fleets.ts";
import { BenchCoordinator, type Database } from "./programs.ts";
import type { BenchSizes } from "./sizes.ts";

export interface ReplicaFigures {
  readonly one: number;
  /** Updates a second that each of two acknowledged; null: a second one does not start. */
  readonly two: readonly [number, number] | null;
  /** Why there is no second; null: there is. */
  readonly refused: string | null;
  /** What all fleets were told is stored is what the database holds; null: not all was answered. */
  readonly booksAgree: boolean | null;
}

export async function measureReplicas(folder: string, sizes: BenchSizes): Promise<ReplicaFigures> {
  const home = join(folder, "replicas");
  await mkdir(home, { recursive: true, mode: 0o711 });
  const postgres = await startEmbeddedPostgres(home);
  const database = { folder: home, url: urlOf(postgres.connection) };
  const running: BenchCoordinator[] = [];
  const fleets: BenchFleet[] = [];
  const agree = (coordinator: BenchCoordinator) => booksAgree(coordinator, fleets);
  try {
    const first = await startReplica(home, "first", database);
    running.push(first);
    const [one = 0] = await rates([first], sizes, fleets);
    const second = await startReplica(home, "second", database).catch(() => null);
    if (second === null) {
      const refused = await lastWords(join(home, "second/coordinator.log"));
      return { one, two: null, refused, booksAgree: await agree(first) };
    }
    running.push(second);
    const [a = 0, b = 0] = await rates([first, second], sizes, fleets);
    return { one, two: [a, b], refused: null, booksAgree: await agree(second) };
  } finally {
    for (const replica of running.toReversed()) await replica.stop();
    await postgres.stop();
  }
}

function startReplica(home: string, name: string, database: Database): Promise<BenchCoordinator> {
  const made = { cohort: COHORT, size: "small", encoding: "int8", federation: LONG_ROUNDS } as const;
  return BenchCoordinator.start(join(home, name), [made], database);
}

/** Updates a second of each, all under full load at the same time by as many gateways together; `all` gets their fleets. */
async function rates(replicas: readonly BenchCoordinator[], sizes: BenchSizes, all: BenchFleet[]): Promise<number[]> {
  const gateways = Math.ceil(sizes.gateways / replicas.length);
  const fleets: BenchFleet[] = [];
  try {
    for (const [nth, { address }] of replicas.entries()) {
      const processes = replicas.length > 1 ? 1 : Math.min(2, gateways);
      fleets.push(
        await BenchFleet.connect({ gateways, firstGateway: 1 + nth * gateways, processes, coordinators: [address] }),
      );
    }
    await Promise.all(fleets.map(({ fleet }) => fleet.load("max")));
    await pause(sizes.warmMs);
    const measured = await Promise.all(
      fleets.map((fleet, nth) => stretch(replicas[nth] as BenchCoordinator, fleet, sizes.measureMs)),
    );
    await Promise.all(fleets.map((fleet) => fleet.settle()));
    return measured.map(({ updatesPerSecond }) => updatesPerSecond);
  } finally {
    all.push(...fleets);
    await Promise.all(fleets.map((fleet) => fleet.close()));
  }
}

async function lastWords(logFile: string): Promise<string> {
  return (await readFile(logFile, "utf8")).trimEnd().split("\n").at(-1) ?? "";
}

/** The socket's folder is the way in. */
function urlOf({ host, user, database }: { host: string; user: string; database: string }): string {
  return `postgres://${user}@localhost/${database}?host=${encodeURIComponent(host)}`;
}
