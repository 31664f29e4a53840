// A worker's share of the fleet: its gateways, their pace, and what they came to.
import { GrpcLink } from "../../agent/adapters/grpc-link.ts";
import type { UplinkProblem } from "../../agent/uplink.ts";
import { cohortId, gatewayId } from "../../learning/ids.ts";
import { seededRandom } from "../../learning/random.ts";
import type { HostAndPort } from "../../runtime/config.ts";
import type { Problems } from "../../runtime/problems.ts";
import type { WireBytes } from "../../runtime/wire-bytes.ts";
import { SimulatedGateway } from "./gateway.ts";
import { Meter, type Reading } from "./meter.ts";
import { meteredLink, Turnstile } from "./metered-link.ts";
import { PlanCache } from "./plan-cache.ts";
import type { Load, WorkerSettings } from "./settings.ts";

/** More would time out waiting for this process, not for the coordinator. */
const CONNECTING = 32;
const TICK_MS = 10;

export type FleetProblem = UplinkProblem | "plan_fetch" | "store_failed";

export class FleetWorker {
  readonly #gateways: readonly SimulatedGateway[];
  readonly #meter: Meter;
  readonly #plans: PlanCache;
  readonly #wire: WireBytes;
  readonly #timers: NodeJS.Timeout[] = [];
  readonly #settings: WorkerSettings;
  #perMs = 0;
  #owed = 0;
  #next = 0;
  #cpu = process.cpuUsage();

  constructor(settings: WorkerSettings, wire: WireBytes, problems: Problems<FleetProblem>) {
    const { worker, seed, inFlight } = settings;
    this.#settings = settings;
    this.#wire = wire;
    const random = seededRandom(seed + worker);
    this.#meter = new Meter(wallClockMs, seed + worker);
    this.#plans = new PlanCache(seed + worker, random.next, (what) => problems.report("plan_fetch", "plan", what));
    const turnstile = new Turnstile(CONNECTING);
    this.#gateways = shareOf(settings).map(
      (number) =>
        new SimulatedGateway({
          gatewayId: gatewayId(`simulated-${number}`),
          cohort: cohortId(settings.cohort),
          link: meteredLink(linkTo(settings.coordinators, random.next), this.#meter, turnstile),
          meter: this.#meter,
          random,
          inFlight,
          cachedPlan: () => this.#plans.newest,
          plan: (planId, link, signal) => this.#plans.get(planId, link, signal),
          problem: (kind, what) => problems.report(kind, `simulated-${number}`, what),
        }),
    );
  }

  /** Sessions and reports until `signal` aborts. */
  async run(signal: AbortSignal): Promise<void> {
    const { reportEveryMs } = this.#settings;
    let last = performance.now();
    this.#every(TICK_MS, () => {
      const now = performance.now();
      this.#trainWhatIsDue(now - last);
      last = now;
    });
    if (reportEveryMs > 0) this.#reportInTurns(reportEveryMs);
    await Promise.all(this.#gateways.map((gateway) => gateway.run(signal)));
    for (const timer of this.#timers) clearInterval(timer);
    for (const gateway of this.#gateways) gateway.close();
  }

  load(load: Load): void {
    const { processes } = this.#settings;
    this.#perMs = load === "max" ? 0 : load.updatesPerSecond / processes / 1000;
    this.#owed = 0;
    for (const gateway of this.#gateways) gateway.neverIdle(load === "max");
  }

  burst(updates: number): void {
    for (let i = 0; i < updates; i++) this.#trainNext();
  }

  read(): Reading {
    const { sent, received } = this.#wire.take();
    this.#meter.count("bytesSent", sent);
    this.#meter.count("bytesReceived", received);
    const { user, system } = process.cpuUsage(this.#cpu);
    this.#cpu = process.cpuUsage();
    this.#meter.count("cpuMs", (user + system) / 1000);
    const plan = this.#plans.newest;
    return this.#meter.read({
      sessionsOpen: this.#gateways.filter(({ connected }) => connected).length,
      ready: this.#gateways.filter(({ ready }) => ready).length,
      plan: plan && {
        parameters: plan.parameters,
        encoding: plan.encoding,
        updateBytes: plan.deltas[0]?.byteLength ?? 0,
      },
    });
  }

  #trainWhatIsDue(passedMs: number): void {
    this.#owed += this.#perMs * passedMs;
    for (; this.#owed >= 1; this.#owed--) this.#trainNext();
  }

  #trainNext(): void {
    this.#gateways[this.#next]?.train();
    this.#next = (this.#next + 1) % this.#gateways.length;
  }

  /** Spread over the interval, as a fleet's clocks are. */
  #reportInTurns(everyMs: number): void {
    const slices = Math.min(this.#gateways.length, Math.ceil(everyMs / 100));
    let slice = 0;
    this.#every(everyMs / slices, () => {
      for (let i = slice; i < this.#gateways.length; i += slices) this.#gateways[i]?.report();
      slice = (slice + 1) % slices;
    });
  }

  #every(ms: number, work: () => void): void {
    this.#timers.push(setInterval(work, ms));
  }
}

/** Comparable between processes of one machine, in fractions of a millisecond. */
function wallClockMs(): number {
  return performance.timeOrigin + performance.now();
}

/** The numbers of this worker's gateways. */
function shareOf({ gateways, firstGateway, processes, worker }: WorkerSettings): number[] {
  return Array.from({ length: gateways }, (_, index) => firstGateway + index).filter(
    (number) => (number - firstGateway) % processes === worker,
  );
}

/** Each session is a connection of its own, as gateways have; grpc-js would share one, and keep what it might send again. */
const CHANNEL = { "grpc.use_local_subchannel_pool": 1, "grpc.enable_retries": 0 };

/** By name: after a loss grpc-js looks a name up again, while an address was told it once and for all. */
function linkTo(coordinators: readonly HostAndPort[], random: () => number): GrpcLink {
  const names = coordinators.map(({ host, port }) => ({ host: host === "127.0.0.1" ? "localhost" : host, port }));
  return new GrpcLink(names, Date.now, random, CHANNEL);
}
