// A fleet as it is in the field: one update a minute from each gateway, rounds as a plan file has them by default, and how
// long the champion of a round takes to all.
import { join } from "node:path";
import { deliveries, readClosings } from "../../cli/simulate/deliveries.ts";
import type { Reading } from "../../cli/simulate/meter.ts";
import { pause } from "../../runtime/retry.ts";
import { DEFAULT_ROUNDS } from "./cohorts.ts";
import { type BenchFleet, booksAgree, COHORT, stretch, withFleet } from "./fleets.ts";
import { type BenchCoordinator, cpuSince, per } from "./programs.ts";
import type { BenchSizes } from "./sizes.ts";

/** Of a round, by default. */
const UPDATES_A_ROUND = 20;
/** As an agent does that has windows to tell. */
const REPORT_EVERY_MS = 30_000;
/** Between rounds, by default. */
const ROUND_INTERVAL_MS = 10_000;
const DELIVERY_MS = 30_000;
const ASK_EVERY_MS = 50;

export interface FleetFigures {
  readonly gateways: number;
  readonly updatesPerSecond: number;
  readonly reportsPerSecond: number;
  readonly championsPerSecond: number;
  /** Shares of one core, in percent. */
  readonly coordinatorPercent: number | null;
  readonly postgresPercent: number | null;
  readonly rssMb: number | null;
  readonly latencyMs: { readonly p50: number; readonly p99: number } | null;
  /** Milliseconds of the coordinator's CPU a report, heartbeats included; measured while nothing else was sent. */
  readonly cpuMsAReport: number | null;
  /** Milliseconds of the coordinator's CPU a champion delivered, its round included; of all bursts together. */
  readonly cpuMsADelivery: number | null;
  /** One a burst: milliseconds from the round's last acknowledgement, and from its close, to the last gateway's champion. */
  readonly bursts: readonly { readonly afterLastAcknowledgementMs: number; readonly afterCloseMs: number | null }[];
  /** Bursts whose champion did not reach all gateways in time. */
  readonly burstsLost: number;
  /** As in a row of throughput. */
  readonly booksAgree: boolean | null;
}

export async function measureFleet(folder: string, sizes: BenchSizes): Promise<FleetFigures> {
  const made = { cohort: COHORT, size: "small", encoding: "int8", federation: DEFAULT_ROUNDS } as const;
  const settings = { gateways: sizes.fleet, reportEveryMs: REPORT_EVERY_MS };
  return withFleet(join(folder, "fleet"), [made], settings, async (coordinator, fleet) => {
    await pause(sizes.idleMs); // what connecting left behind
    const rest = await stretch(coordinator, fleet, sizes.idleMs);
    const delivery = await measureBursts(coordinator, fleet, sizes);
    await fleet.fleet.load({ updatesPerSecond: sizes.fleet / 60 });
    await pause(sizes.warmMs);
    const { seconds, cpu, reading, updatesPerSecond, latencyMs } = await stretch(coordinator, fleet, sizes.fleetMs);
    const rssMb = coordinator.memory?.rssMb ?? null;
    await fleet.settle();
    const percent = (cpuMs: number | null) => per(cpuMs === null ? null : cpuMs / 10, seconds);
    return {
      gateways: sizes.fleet,
      updatesPerSecond,
      reportsPerSecond: reading.counts.reportsAnswered / seconds,
      championsPerSecond: reading.counts.championsReceived / seconds,
      coordinatorPercent: percent(cpu.coordinator),
      postgresPercent: percent(cpu.postgres),
      rssMb,
      latencyMs,
      cpuMsAReport: per(rest.cpu.coordinator, rest.reading.counts.reportsAnswered),
      ...delivery,
      burstsLost: sizes.bursts - delivery.bursts.length,
      booksAgree: await booksAgree(coordinator, [fleet]),
    };
  });
}

async function measureBursts(
  coordinator: BenchCoordinator,
  fleet: BenchFleet,
  { bursts: wanted, fleet: gateways }: BenchSizes,
): Promise<Pick<FleetFigures, "bursts" | "cpuMsADelivery">> {
  const received = fleet.whole.counts.championsReceived;
  const bursts: FleetFigures["bursts"][number][] = [];
  let cpuMs: number | null = 0;
  for (let burst = 0; burst < wanted; burst++) {
    if (burst > 0) await pause(ROUND_INTERVAL_MS);
    const before = coordinator.cpu;
    const delivered = await oneRound(coordinator, fleet, gateways);
    const spentMs = cpuSince(before, coordinator.cpu).coordinator;
    cpuMs = cpuMs === null || spentMs === null ? null : cpuMs + spentMs;
    if (delivered !== null) bursts.push(delivered);
  }
  return { bursts, cpuMsADelivery: per(cpuMs, fleet.whole.counts.championsReceived - received) };
}

/** Null when the champion did not reach all. */
async function oneRound(
  coordinator: BenchCoordinator,
  fleet: BenchFleet,
  gateways: number,
): Promise<FleetFigures["bursts"][number] | null> {
  await fleet.read();
  const soFar = fleet.whole.arrivals.at(-1)?.version ?? 0;
  await fleet.fleet.burst(UPDATES_A_ROUND);
  const deadlineMs = performance.now() + DELIVERY_MS;
  let lastAcknowledgedMs: number | null = null;
  let arrival: Reading["arrivals"][number] | undefined;
  while (performance.now() < deadlineMs && arrival?.sessions !== gateways) {
    await pause(ASK_EVERY_MS);
    lastAcknowledgedMs = (await fleet.read()).lastAcknowledgedMs ?? lastAcknowledgedMs;
    arrival = fleet.whole.arrivals.find(({ version }) => version > soFar);
  }
  if (lastAcknowledgedMs === null || arrival?.sessions !== gateways) return null;
  const [delivery] = deliveries([arrival], await readClosings(coordinator.url, COHORT));
  return {
    afterLastAcknowledgementMs: arrival.lastMs - lastAcknowledgedMs,
    afterCloseMs: delivery?.afterCloseMs?.last ?? null,
  };
}
