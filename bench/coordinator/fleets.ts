// Simulated fleets of the benchmark: what a stretch of load came to, at the fleet and at the coordinator.
import { type SimulatedFleet, startFleet } from "../../cli/simulate/fleet.ts";
import type { Reading } from "../../cli/simulate/meter.ts";
import { acknowledged, type Latency, latencyOf, oneAfterTheOther, perUpdate } from "../../cli/simulate/readings.ts";
import type { SimulationSettings } from "../../cli/simulate/settings.ts";
import { pause } from "../../runtime/retry.ts";
import type { MadeCohort } from "./cohorts.ts";
import { BenchCoordinator, type Cpu, cpuSince, per } from "./programs.ts";

const CONNECT_MS_AT_LEAST = 120_000;
const CONNECT_MS_A_GATEWAY = 50;
const SETTLE_MS = 30_000;
export const COHORT = "simulated";

export type FleetSettings = Partial<SimulationSettings> & Pick<SimulationSettings, "gateways" | "coordinators">;

/** A fleet and all that it read so far. */
export class BenchFleet {
  readonly #fleet: SimulatedFleet;
  #whole: Reading;

  /** Throws unless every gateway gets a session, its plan and a champion. */
  static async connect(settings: FleetSettings): Promise<BenchFleet> {
    const all: SimulationSettings = {
      cohort: COHORT,
      firstGateway: 1,
      processes: Math.min(2, settings.gateways),
      inFlight: 1,
      reportEveryMs: 0,
      seed: 1,
      ...settings,
    };
    const fleet = await startFleet(all);
    const patienceMs = Math.max(CONNECT_MS_AT_LEAST, CONNECT_MS_A_GATEWAY * all.gateways);
    const start = await fleet.connected(patienceMs);
    if (start.ready < all.gateways) {
      await fleet.close();
      throw new Error(`only ${start.ready} of ${all.gateways} gateways were ready within ${patienceMs} ms`);
    }
    return new BenchFleet(fleet, start);
  }

  private constructor(fleet: SimulatedFleet, start: Reading) {
    this.#fleet = fleet;
    this.#whole = start;
  }

  get fleet(): SimulatedFleet {
    return this.#fleet;
  }

  /** Everything since its first connection. */
  get whole(): Reading {
    return this.#whole;
  }

  async read(): Promise<Reading> {
    return this.#add(await this.#fleet.read());
  }

  /** Ends the load; resolves when all is answered, or says that it is not. */
  async settle(): Promise<Reading> {
    return this.#add(await this.#fleet.settle(SETTLE_MS));
  }

  close(): Promise<void> {
    return this.#fleet.close();
  }

  #add(reading: Reading): Reading {
    this.#whole = oneAfterTheOther(this.#whole, reading);
    return reading;
  }
}

/** Runs `work` on a coordinator with `cohorts` and a fleet that is connected to it; both are gone afterwards. */
export async function withFleet<Result>(
  home: string,
  cohorts: readonly MadeCohort[],
  settings: Omit<FleetSettings, "coordinators">,
  work: (coordinator: BenchCoordinator, fleet: BenchFleet) => Promise<Result>,
): Promise<Result> {
  const coordinator = await BenchCoordinator.start(home, cohorts);
  try {
    const fleet = await BenchFleet.connect({ ...settings, coordinators: [coordinator.address] });
    try {
      return await work(coordinator, fleet);
    } finally {
      await fleet.close();
    }
  } finally {
    await coordinator.stop();
  }
}

/** What a stretch of time came to. */
export interface Stretch {
  readonly seconds: number;
  readonly updates: number;
  readonly updatesPerSecond: number;
  readonly cpu: Cpu;
  /** Milliseconds an update; null: no update, or Linux does not tell. */
  readonly coordinatorCpuMs: number | null;
  readonly postgresCpuMs: number | null;
  readonly generatorCpuMs: number | null;
  readonly latencyMs: Latency | null;
  readonly refused: number;
  readonly toldToRetry: number;
  readonly reading: Reading;
}

/** Lets `ms` pass and says what happened; the load is whatever it was set to. */
export async function stretch(coordinator: BenchCoordinator, fleet: BenchFleet, ms: number): Promise<Stretch> {
  await fleet.read();
  const before = coordinator.cpu;
  const startedMs = performance.now();
  await pause(ms);
  const reading = await fleet.read();
  const seconds = (performance.now() - startedMs) / 1000;
  const cpu = cpuSince(before, coordinator.cpu);
  const updates = acknowledged(reading);
  const { refused, toldToRetry } = reading.counts;
  return {
    seconds,
    updates,
    updatesPerSecond: updates / seconds,
    cpu,
    coordinatorCpuMs: per(cpu.coordinator, updates),
    postgresCpuMs: per(cpu.postgres, updates),
    generatorCpuMs: perUpdate(reading, "cpuMs"),
    latencyMs: latencyOf(reading),
    refused,
    toldToRetry,
    reading,
  };
}

/**
 * Whether the database holds what the fleets were told is stored, update for update and sample for sample. Null: answers
 * were still outstanding, and it holds no less than what was acknowledged and no more than what was sent.
 */
export async function booksAgree(
  coordinator: BenchCoordinator,
  fleets: readonly BenchFleet[],
): Promise<boolean | null> {
  const row = await coordinator.ask<{ updates: string; samples: string }>(
    "SELECT count(*) AS updates, coalesce(sum(samples_processed), 0) AS samples FROM local_models WHERE status <> 'refused'",
  );
  const [updates, samples] = [Number(row.updates), Number(row.samples)];
  const sum = (value: (reading: Reading) => number) => fleets.reduce((total, { whole }) => total + value(whole), 0);
  const [told, toldSamples] = [sum(acknowledged), sum(({ counts }) => counts.samplesAcknowledged)];
  const open = sum(({ unanswered }) => unanswered);
  if (open === 0) return updates === told && samples === toldSamples;
  return updates >= told && updates <= told + open && samples >= toldSamples ? null : false;
}
