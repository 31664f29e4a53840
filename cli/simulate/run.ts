// One simulation from the first session to the last answer.
import { pause } from "../../runtime/retry.ts";
import { type Delivery, deliveries, readClosings } from "./deliveries.ts";
import { startFleet } from "./fleet.ts";
import type { Counts, Reading } from "./meter.ts";
import { acknowledged, type Latency, latencyOf, oneAfterTheOther, perUpdate } from "./readings.ts";
import type { Load, SimulationSettings } from "./settings.ts";

const CONNECT_MS_A_GATEWAY = 20;
const CONNECT_AT_LEAST_MS = 30_000;
const SETTLE_MS = 30_000;

export interface Simulation {
  readonly settings: SimulationSettings;
  readonly load: Load;
  readonly durationMs: number;
  /** Of the coordinator's REST API; absent: when rounds closed is not known. */
  readonly url?: string | undefined;
}

/** Of the whole run, from the first connection on, where nothing else is said. */
export interface Figures {
  readonly gateways: number;
  /** Gateways with session, plan and champion before the load began. */
  readonly connected: number;
  readonly connectSeconds: number;
  /** Of the load. */
  readonly seconds: number;
  /** Under load. */
  readonly updatesPerSecond: number;
  readonly latencyMs: Latency | null;
  /** Of all bytes and all CPU from when all were connected on, what an acknowledged update has. */
  readonly bytesSentAnUpdate: number | null;
  readonly bytesReceivedAnUpdate: number | null;
  readonly cpuMsAnUpdate: number | null;
  readonly counts: Counts;
  readonly acknowledged: number;
  readonly unanswered: number;
  readonly plan: Reading["plan"];
  readonly lastRefusal: string | null;
  /** The newest champions' ways to the sessions, oldest first. */
  readonly champions: readonly Delivery[];
}

/** Throws when not one gateway gets a session, its plan and a champion. Ends early, with figures, when `stop` aborts. */
export async function runSimulation(
  { settings, load, durationMs, url }: Simulation,
  stop: AbortSignal,
): Promise<Figures> {
  const fleet = await startFleet(settings);
  try {
    const startedMs = performance.now();
    const patienceMs = Math.max(CONNECT_AT_LEAST_MS, CONNECT_MS_A_GATEWAY * settings.gateways);
    const start = await fleet.connected(patienceMs, stop);
    const connectSeconds = (performance.now() - startedMs) / 1000;
    if (start.ready === 0 && !stop.aborted) throw new NoSessionError(settings);

    const loadedMs = performance.now();
    await fleet.load(load);
    await Promise.race([pause(durationMs, stop), fleet.died]);
    const under = await fleet.read();
    const seconds = (performance.now() - loadedMs) / 1000;
    const end = await fleet.settle(SETTLE_MS);
    const loaded = oneAfterTheOther(under, end);
    const whole = oneAfterTheOther(start, loaded);
    const closings = url === undefined ? new Map() : await readClosings(url, settings.cohort);
    return {
      gateways: settings.gateways,
      connected: start.ready,
      connectSeconds,
      seconds,
      updatesPerSecond: acknowledged(under) / seconds,
      latencyMs: latencyOf(under),
      bytesSentAnUpdate: perUpdate(loaded, "bytesSent"),
      bytesReceivedAnUpdate: perUpdate(loaded, "bytesReceived"),
      cpuMsAnUpdate: perUpdate(loaded, "cpuMs"),
      counts: whole.counts,
      acknowledged: acknowledged(whole),
      unanswered: whole.unanswered,
      plan: whole.plan,
      lastRefusal: whole.lastRefusal,
      champions: deliveries(whole.arrivals, closings),
    };
  } finally {
    await fleet.close();
  }
}

class NoSessionError extends Error {
  constructor({ coordinators, cohort }: SimulationSettings) {
    const where = coordinators.map(({ host, port }) => `${host}:${port}`).join(", ");
    super(`no gateway got a session and a model of cohort ${cohort} at ${where}: is it running, with such a plan?`);
    this.name = "NoSessionError";
  }
}
