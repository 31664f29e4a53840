// What open sessions cost: memory each, CPU while they idle, and whether an update costs more when there are more of them.
import { join } from "node:path";
import { openFilesAllowed } from "../../cli/simulate/fleet.ts";
import { pause } from "../../runtime/retry.ts";
import { LONG_ROUNDS } from "./cohorts.ts";
import { BenchFleet, COHORT, stretch } from "./fleets.ts";
import { BenchCoordinator, per } from "./programs.ts";
import type { BenchSizes } from "./sizes.ts";

/** They hear of no champion of those who send. */
const IDLE = `${COHORT}-idle`;
const SPARE_FILES = 200;

export interface SessionsRow {
  readonly sessions: number;
  readonly rssMb: number | null;
  /** Above the coordinator's memory before the first session, a session; null: Linux does not tell. */
  readonly kbASession: number | null;
  /** Share of a core while nothing is sent but heartbeats, in percent. */
  readonly idlePercent: number | null;
  /** Milliseconds of the coordinator's CPU an update of the first sessions, what the idle ones take not counted. */
  readonly cpuMsAnUpdate: number | null;
  readonly updatesPerSecond: number;
  readonly openSeconds: number;
}

export interface SessionsFigures {
  readonly rows: readonly SessionsRow[];
  /** Why there are fewer rows than were asked for; null: there are all. */
  readonly leftOut: string | null;
}

export async function measureSessions(folder: string, sizes: BenchSizes): Promise<SessionsFigures> {
  const made = { size: "small", encoding: "int8", federation: LONG_ROUNDS } as const;
  const coordinator = await BenchCoordinator.start(join(folder, "sessions"), [
    { ...made, cohort: COHORT },
    { ...made, cohort: IDLE },
  ]);
  const allowed = openFilesAllowed(coordinator.pid) ?? Number.POSITIVE_INFINITY;
  const counts = sizes.sessions.filter((count) => count + SPARE_FILES <= allowed);
  const fleets: BenchFleet[] = [];
  const rows: SessionsRow[] = [];
  let leftOut =
    counts.length < sizes.sessions.length
      ? `the coordinator may open ${allowed} files (ulimit -n): rows with more sessions are left out`
      : null;
  try {
    await pause(sizes.idleMs);
    const emptyMb = coordinator.memory?.rssMb ?? null;
    let open = 0;
    for (const count of counts) {
      const startedMs = performance.now();
      const more = { gateways: count - open, firstGateway: open + 1, cohort: open === 0 ? COHORT : IDLE };
      fleets.push(await BenchFleet.connect({ ...more, coordinators: [coordinator.address] }));
      open = count;
      const openSeconds = (performance.now() - startedMs) / 1000;
      rows.push({ ...(await atRestAndAtWork(coordinator, fleets, count, emptyMb, sizes)), openSeconds });
    }
  } catch (error) {
    if (rows.length === 0) throw error;
    leftOut = (error as Error).message;
  } finally {
    await Promise.all(fleets.map((fleet) => fleet.close()));
    await coordinator.stop();
  }
  return { rows, leftOut };
}

async function atRestAndAtWork(
  coordinator: BenchCoordinator,
  [senders]: readonly BenchFleet[],
  sessions: number,
  emptyMb: number | null,
  { idleMs, measureMs, steadyRate }: BenchSizes,
): Promise<Omit<SessionsRow, "openSeconds">> {
  if (senders === undefined) throw new Error("there is no session");
  await pause(idleMs); // what connecting left behind
  const idle = await stretch(coordinator, senders, idleMs);
  const rssMb = coordinator.memory?.rssMb ?? null;
  await senders.fleet.load({ updatesPerSecond: steadyRate });
  const work = await stretch(coordinator, senders, measureMs);
  await senders.settle();
  const idleMsASecond = per(idle.cpu.coordinator, idle.seconds);
  const own =
    work.cpu.coordinator === null || idleMsASecond === null
      ? null
      : work.cpu.coordinator - idleMsASecond * work.seconds;
  return {
    sessions,
    rssMb,
    kbASession: rssMb === null || emptyMb === null ? null : (1024 * (rssMb - emptyMb)) / sessions,
    idlePercent: idleMsASecond === null ? null : idleMsASecond / 10,
    cpuMsAnUpdate: per(own, work.updates),
    updatesPerSecond: work.updatesPerSecond,
  };
}
