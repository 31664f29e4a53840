// A fleet that learns in one process, by the code that agents and the coordinator run: rows in, a champion out.
import { recentFeatures } from "../../agent/core/recent-features.ts";
import { fineTune, tuningRows } from "../../agent/fine-tune.ts";
import { trainLocally } from "../../agent/train-locally.ts";
import type { CohortState } from "../../coordinator/core/cohort-state.ts";
import type { RoundUpdate } from "../../coordinator/core/combine-updates.ts";
import { deviceAfterHead } from "../../coordinator/core/evaluate.ts";
import { runRound } from "../../coordinator/run-round.ts";
import type { CombiningRule } from "../../learning/aggregation/rules.ts";
import { initialServerState } from "../../learning/aggregation/server-optimisers.ts";
import { decodeDelta, encodeDelta } from "../../learning/codecs/codec.ts";
import {
  type FleetStatistics,
  type GatewayStatistics,
  noFleet,
  poolDevices,
  poolGateways,
} from "../../learning/fleet.ts";
import { cohortId } from "../../learning/ids.ts";
import type { DeviceMonitor } from "../../learning/monitor.ts";
import { seededRandom } from "../../learning/random.ts";
import type { PlanBundle } from "../../proto/plan-bundle.ts";
import type { PlanModel } from "../../runtime/plan-model.ts";
import type { BenchStream } from "./streams.ts";

export interface FleetSettings {
  readonly bundle: PlanBundle;
  readonly model: PlanModel;
  readonly rule: CombiningRule;
  readonly rounds: number;
  /** The label of a feature row, for a classifier. */
  readonly labelOf?: (features: Float32Array) => 0 | 1;
  /** Of so many gateways, drawn by the plan's seed, every delta is turned round and five times as large. */
  readonly liars: number;
}

export interface TrainedFleet {
  readonly version: number;
  readonly weights: Float32Array;
  readonly fleet: FleetStatistics;
  /** Mean over the updates; null without one. */
  readonly bytesPerUpdate: number | null;
}

const LIE = -5;

/** One gateway with its devices; `devices` are the streams whose first rows it learns from. */
class Gateway {
  readonly id: string;
  readonly #monitors: readonly DeviceMonitor[];
  readonly #seed: number;
  #residual: Float32Array;

  constructor({ bundle: { manifest, initialWeights } }: FleetSettings, devices: readonly BenchStream[], seed: number) {
    this.id = devices
      .map(({ stream }) => stream)
      .join("+")
      .slice(0, 64);
    this.#seed = seed;
    this.#residual = new Float32Array(initialWeights.length);
    this.#monitors = devices.map((stream) => deviceAfterHead(manifest, stream, noFleet));
  }

  async update(settings: FleetSettings, champion: CohortState["champion"], lie: boolean): Promise<Sent> {
    const { bundle, model } = settings;
    const { training, featureCount, weights: layout } = bundle.manifest;
    const data = recentFeatures(
      this.#monitors.map((monitor) => ({ monitor })),
      featureCount,
      Number.MAX_SAFE_INTEGER,
    );
    const { labelOf } = settings;
    const row = (index: number) => data.x.subarray(index * featureCount, (index + 1) * featureCount);
    const y = labelOf ? Float32Array.from({ length: data.rows }, (_, index) => labelOf(row(index))) : null;
    const signal = new AbortController().signal;
    const start = { local: champion.weights, base: champion.weights };
    const trained = await trainLocally(
      model,
      bundle.manifest,
      start,
      { ...data, y },
      {
        learningRate: training.learningRate,
        trainingNumber: champion.version,
        gatewaySeed: this.#seed,
        signal,
      },
    );
    if (trained === null) throw new Error("a training ended early");
    const delta = lie ? trained.delta.map((value) => LIE * value) : trained.delta;
    const { bytes, residual } = encodeDelta(training.codec, delta, layout, this.#residual);
    this.#residual = residual;
    const update: RoundUpdate = {
      updateId: `${this.id}-${champion.version}`,
      gatewayId: this.id,
      baseVersion: champion.version,
      samples: data.rows,
      receivedAtMs: 0,
      delta: decodeDelta(training.codec, bytes, layout),
    };
    return { update, bytes: bytes.length };
  }

  /** As an agent does when a champion arrives. */
  async calibrate({ model, bundle }: FleetSettings, { version, weights, fleet }: CohortState["champion"]) {
    for (const monitor of this.#monitors) {
      monitor.adoptFleet(fleet);
    }
    const own = await tunedFor({ model, bundle, version, weights }, this.#monitors, this.#seed);
    for (const monitor of this.#monitors) {
      const { x, rows } = monitor.calibrationFeatures();
      if (rows > 0) monitor.calibrate((await model.score(own, x, rows)).scores);
    }
    return poolDevices(
      bundle.manifest,
      this.#monitors.flatMap((monitor) => monitor.statistics() ?? []),
      this.#seed,
    );
  }
}

interface Champion extends Pick<FleetSettings, "model" | "bundle"> {
  readonly version: number;
  readonly weights: Float32Array;
}

/** What a gateway of these devices scores by: the champion's weights, or what it makes of them. */
export async function tunedFor(
  { model, bundle: { manifest }, version: globalVersion, weights: base }: Champion,
  monitors: readonly DeviceMonitor[],
  gatewaySeed: number,
): Promise<Float32Array> {
  const rows = tuningRows(
    manifest,
    monitors.map((monitor) => ({ monitor, seen: null })),
  );
  if (rows === null) return base;
  const { signal } = new AbortController();
  const tuning = await fineTune(model, manifest, { base, globalVersion }, rows, { gatewaySeed, signal });
  return tuning?.weights ?? base;
}

interface Sent {
  readonly update: RoundUpdate;
  readonly bytes: number;
}

/** Rounds in which every gateway trains on its devices' rows once; nothing is held out, so every candidate is promoted. */
export async function trainFleet(
  settings: FleetSettings,
  devicesOf: readonly (readonly BenchStream[])[],
): Promise<TrainedFleet> {
  const { bundle, rounds } = settings;
  const gateways = devicesOf.map((devices, index) => new Gateway(settings, devices, index + 1));
  const liars = drawn(settings.liars, gateways.length, bundle.manifest.training.seed);
  let cohort = newCohort(settings);
  let statistics: GatewayStatistics[] = [];
  let bytes = 0;
  for (let round = 0; round < rounds; round++) {
    const sent: Sent[] = [];
    for (const [index, gateway] of gateways.entries())
      sent.push(await gateway.update(settings, cohort.champion, liars.has(index)));
    bytes += sent.reduce((sum, each) => sum + each.bytes, 0);
    cohort = await closeRound(
      cohort,
      sent.map(({ update }) => update),
      statistics,
    );
    statistics = [];
    for (const gateway of gateways) {
      const told = await gateway.calibrate(settings, cohort.champion);
      if (told !== null) statistics.push(told);
    }
  }
  return {
    version: cohort.champion.version,
    weights: cohort.champion.weights,
    fleet: poolGateways(bundle.manifest, statistics),
    bytesPerUpdate: rounds > 0 ? bytes / (rounds * gateways.length) : null,
  };
}

/** `count` different indices below `of`. */
function drawn(count: number, of: number, seed: number): ReadonlySet<number> {
  const random = seededRandom(seed);
  const indices = new Set<number>();
  while (indices.size < Math.min(count, of)) indices.add(Math.floor(random.next() * of));
  return indices;
}

function newCohort({ bundle, rule }: FleetSettings): CohortState {
  return {
    cohort: cohortId("bench"),
    state: "active",
    leftPlans: [],
    revision: 1,
    planId: bundle.planId,
    manifest: bundle.manifest,
    federation: {
      round: { mode: "buffered", updates: 1, intervalMs: 0, deadlineMs: 1, minGateways: 1, maxStaleness: 0 },
      samples: { rowsPerSecond: 1, burstMs: 1 },
      rule,
      optimiser: { kind: "none" },
      gate: { margin: 1 },
      live: [],
      drift: { drop: 0.1, windows: 3, rows: 2_000, action: "event" },
    },
    champion: { version: 1, weights: bundle.initialWeights, trained: false, fleet: noFleet },
    pin: null,
    lastVersion: 1,
    championVersions: [1],
    rolledBackVersions: [],
    rate: { factor: 1, smoothedQuality: null, measuredOn: null },
    server: initialServerState({ kind: "none" }, bundle.initialWeights.length),
    invitation: null,
  };
}

/** The coordinator's round, with nothing to evaluate on, nobody connected, and every voice counted whole. */
async function closeRound(
  cohort: CohortState,
  updates: readonly RoundUpdate[],
  statistics: readonly GatewayStatistics[],
): Promise<CohortState> {
  const store = {
    roundUpdates: async () => [...updates],
    gatewayStatistics: async () => [...statistics],
    recordRound: async () => {},
  };
  const evaluator = { evaluate: async () => null, baselines: null };
  const standings = { of: async () => new Map() };
  const outcome = await runRound({ store, standings, evaluator }, cohort, new AbortController().signal);
  return outcome.cohort;
}
