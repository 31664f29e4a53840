// Training and scoring of autoencoders on one thread: onnxruntime beside plain TypeScript (float64), and scikit-learn
// where python3 has it; and the isolation forest's training.
import { spawnSync } from "node:child_process";
import * as ort from "onnxruntime-node";
import { compilePlan } from "../learning/compile-plan.ts";
import { GraphBuilder } from "../learning/graph/builder.ts";
import { DEFAULT_FOREST, IsolationForest } from "../learning/isolation-forest.ts";
import type { PlanSettings } from "../learning/plan.ts";
import { seededRandom } from "../learning/random.ts";
import { encodeOnnx } from "../proto/onnx.ts";
import { decodeBundle, encodeBundle } from "../proto/plan-bundle.ts";
import { planSettingsSchema } from "../proto/plan-schema.ts";
import { initialOptimiserState, PlanModel, type TrainingPoint } from "../runtime/plan-model.ts";
import { PlainDense } from "../test/support/plain-autoencoder.ts";
import { LoopDense } from "./loop-step.ts";

const BATCH_ROWS = 50;
const SCORED_ROWS = [1, 50, 1000] as const;
const ROUNDS = 15;
const ROUND_MS = 100;
/** Between two looks at the clock. */
const CALLS = 10;
const LEARNING_RATE = 0.001;

interface Shape {
  readonly name: string;
  readonly features: number;
  readonly hidden: readonly number[];
  readonly largest: number | null;
  readonly optimiser: { readonly momentum: number; readonly clip: number | null };
}

const WIDE: Shape = {
  name: "38-16-38",
  features: 38,
  hidden: [16],
  largest: null,
  optimiser: { momentum: 0, clip: null },
};
const DEFAULT: Shape = {
  name: "24-12-2-12-24, momentum 0.9, clip 2.5",
  features: 24,
  hidden: [12, 2, 12],
  largest: 2,
  optimiser: { momentum: 0.9, clip: 2.5 },
};

function settingsOf({ features, hidden, largest, optimiser: { momentum, clip } }: Shape): PlanSettings {
  return planSettingsSchema.parse({
    channels: Array.from({ length: features }, (_, at) => ({ name: `channel_${at}`, unit: "" })),
    commissioningRows: 100,
    features: { reference: { kind: "normaliser", rows: 2000 }, columns: [{ kind: "window", rows: 1 }] },
    model: { kind: "dense_autoencoder", hidden },
    score: { largest },
    training: {
      learningRate: 0.01,
      batchRows: BATCH_ROWS,
      triggerRows: 50,
      triggerMs: 60_000,
      passes: 1,
      optimiser: momentum > 0 ? { kind: "momentum", momentum } : { kind: "sgd" },
      clip,
      seed: 1,
    },
    threshold: { rule: { kind: "quantile", quantile: 0.99 }, rows: 1000 },
  });
}

interface Contender {
  readonly name: string;
  readonly once: () => Promise<unknown> | unknown;
}

/** One model and its rivals, all at the same weights. */
async function contendersOf(shape: Shape): Promise<readonly Contender[]> {
  const { features, hidden, optimiser } = shape;
  const plan = compilePlan(settingsOf(shape));
  const { bytes, planId } = encodeBundle(plan);
  const model = await PlanModel.load(decodeBundle(bytes, planId));
  const random = seededRandom(1);
  const x = Float32Array.from({ length: 1000 * features }, () => random.normal());
  const batch = { x: x.subarray(0, BATCH_ROWS * features), y: null, rows: BATCH_ROWS };
  const plainBatch = Float64Array.from(batch.x);
  const row = plainBatch.subarray(0, features);
  const widths = [features, ...hidden, features];
  const loops = new LoopDense(widths, plan.initialWeights, optimiser);
  const tuned = optimiser.momentum > 0 ? null : new PlainDense(widths, plan.initialWeights, BATCH_ROWS);
  const base = plan.initialWeights;
  let at: TrainingPoint = { weights: base, state: initialOptimiserState(plan.manifest) };
  const trainOnnx = async () => {
    const step = await model.train({ ...at, base }, batch, LEARNING_RATE);
    at = step;
    return step.loss;
  };
  const training = [
    { name: "train, onnxruntime", once: trainOnnx },
    { name: "train, loops", once: () => loops.train(plainBatch, BATCH_ROWS, LEARNING_RATE) },
    ...(tuned ? [{ name: "train, tuned", once: () => tuned.train(plainBatch, plainBatch, LEARNING_RATE) }] : []),
  ];
  await checkSameSteps(training);
  return [
    ...training,
    ...SCORED_ROWS.map((rows) => ({
      name: `score ${rows}`,
      once: () => model.score(at.weights, x.subarray(0, rows * features), rows),
    })),
    { name: "score 1, loops", once: () => loops.score(row, 1, shape.largest ?? features) },
  ].map(({ name, once }) => ({ name: `${shape.name}: ${name}`, once }));
}

/** They do the same work, or the comparison means nothing. */
async function checkSameSteps(contenders: readonly { readonly once: () => Promise<number> | number }[]): Promise<void> {
  for (let step = 0; step < 3; step++) {
    const losses: number[] = [];
    for (const { once } of contenders) losses.push(await once());
    if (losses.some((loss) => !(Math.abs(loss / Number(losses[0]) - 1) < 1e-5)))
      throw new Error(`losses differ at step ${step}: ${losses.join(", ")}`);
  }
}

/** What any call of onnxruntime costs: a graph that negates one number. */
async function emptyRun(): Promise<Contender> {
  const b = new GraphBuilder();
  const onnx = encodeOnnx(b.build("empty", { y: b.neg(b.input("x", [1])) }));
  const session = await ort.InferenceSession.create(onnx, { intraOpNumThreads: 1, interOpNumThreads: 1 });
  const value = Float32Array.of(1);
  return { name: "empty run", once: () => session.run({ x: new ort.Tensor("float32", value, [1]) }) };
}

/** Microseconds a call. */
async function timeRound({ once }: Contender): Promise<number> {
  const start = performance.now();
  let calls = 0;
  do {
    for (let i = 0; i < CALLS; i++) await once();
    calls += CALLS;
  } while (performance.now() - start < ROUND_MS);
  return ((performance.now() - start) * 1000) / calls;
}

interface Time {
  readonly median: number;
  readonly best: number;
}

function timeOf(times: readonly number[]): Time {
  const sorted = times.toSorted((a, b) => a - b);
  return { median: sorted[sorted.length >> 1] as number, best: sorted[0] as number };
}

/** Rounds in which all take turns, so that a busy machine slows all alike; the first warms up. */
async function compare(contenders: readonly Contender[]): Promise<(name: string) => Time> {
  const times = new Map<string, number[]>(contenders.map(({ name }) => [name, []]));
  for (let round = 0; round <= ROUNDS; round++) {
    for (const contender of contenders) {
      const microseconds = await timeRound(contender);
      if (round > 0) times.get(contender.name)?.push(microseconds);
    }
  }
  return (name) => timeOf(times.get(name) ?? []);
}

const FOREST_ROWS = 1000;
const FOREST_CHANNELS = 8;

const SCIKIT_LEARN = `
import json, time
try:
    import numpy as np, sklearn
    from sklearn.ensemble import IsolationForest
    from sklearn.neural_network import MLPRegressor
except ImportError:
    print("null"); raise SystemExit
def times(once, rounds):
    once()
    taken = []
    for _ in range(rounds):
        start = time.perf_counter(); once(); taken.append((time.perf_counter() - start) * 1e6)
    return taken
random = np.random.default_rng(1)
x = random.standard_normal((${BATCH_ROWS}, ${DEFAULT.features}))
mlp = MLPRegressor(hidden_layer_sizes=${JSON.stringify(DEFAULT.hidden)}, activation="tanh", solver="sgd", momentum=0.9,
                   nesterovs_momentum=False, batch_size=${BATCH_ROWS}, alpha=0, learning_rate_init=${LEARNING_RATE})
rows = random.standard_normal((${FOREST_ROWS}, ${FOREST_CHANNELS}))
forest = IsolationForest(n_estimators=${DEFAULT_FOREST.trees}, max_samples=${DEFAULT_FOREST.subsampleRows}, n_jobs=1)
print(json.dumps({"version": sklearn.__version__, "train": times(lambda: mlp.partial_fit(x, x), 500),
                  "score": times(lambda: mlp.predict(x[:1]), 500), "forest": times(lambda: forest.fit(rows), 5)}))`;

interface ScikitLearn {
  readonly version: string;
  /** Microseconds a call. */
  readonly train: readonly number[];
  readonly score: readonly number[];
  readonly forest: readonly number[];
}

function runScikitLearn(): ScikitLearn | null {
  const environment = { ...process.env, OMP_NUM_THREADS: "1", OPENBLAS_NUM_THREADS: "1" };
  const python = spawnSync("python3", ["-c", SCIKIT_LEARN], { env: environment, encoding: "utf8" });
  if (python.error) return null;
  if (python.status !== 0) throw new Error(`python3: ${python.stderr}`);
  return JSON.parse(python.stdout);
}

const forestRandom = seededRandom(1);
const forestRows = Float64Array.from({ length: FOREST_ROWS * FOREST_CHANNELS }, () => forestRandom.normal());
const time = await compare([
  ...(await contendersOf(WIDE)),
  ...(await contendersOf(DEFAULT)),
  await emptyRun(),
  { name: "forest", once: () => IsolationForest.train(forestRows, FOREST_CHANNELS) },
]);
const scikitLearn = runScikitLearn();

const line = (what: string, median: string, best: string, target = "") =>
  console.log(what.padEnd(56), median.padStart(16), best.padStart(16), target.padStart(16));
const report = (what: string, { median, best }: Time, text: (value: number) => string, target = "") =>
  line(what, text(median), text(best), target);
const us = (value: number) => `${value.toFixed(1)} µs`;
const ms = (value: number) => `${(value / 1000).toFixed(1)} ms`;
const ratio = (a: Time, b: Time) => ({ median: a.median / b.median, best: a.best / b.best });
const factor = (value: number) => `${value.toFixed(1)} ×`;

function reportShape({ name }: Shape, stepTarget: string, ratioTarget: string, rateTarget: string): void {
  const of = (what: string) => time(`${name}: ${what}`);
  line(`${name} autoencoder, one thread`, "median", "best", "target");
  report("  train step of 50 rows, onnxruntime", of("train, onnxruntime"), us, stepTarget);
  report("  train step of 50 rows, TypeScript, plain loops", of("train, loops"), us);
  report("  plain loops / onnxruntime", ratio(of("train, loops"), of("train, onnxruntime")), factor, ratioTarget);
  for (const rows of SCORED_ROWS) {
    const rate = (microseconds: number) => `${((rows * 1e3) / microseconds).toFixed(0)} k rows/s`;
    report(`  score, ${rows} rows a call`, of(`score ${rows}`), rate, rows === 1000 ? rateTarget : "");
  }
  report("  score of a single row, onnxruntime", of("score 1"), us, "≤ 5 µs");
  report("  score of a single row, TypeScript, plain loops", of("score 1, loops"), us);
}

reportShape(WIDE, "≤ 60 µs", "≥ 4 ×", "");
const tuned = time(`${WIDE.name}: train, tuned`);
report("  train step of 50 rows, TypeScript, unrolled by four", tuned, us);
report("  unrolled / onnxruntime", ratio(tuned, time(`${WIDE.name}: train, onnxruntime`)), factor);
reportShape(DEFAULT, "≤ 40 µs", "", "≥ 1000 k rows/s");
report("an empty run of onnxruntime, one number in, one out", time("empty run"), us);
report(`isolation forest, training on ${FOREST_ROWS} rows`, time("forest"), ms, "≤ 50 ms");
if (scikitLearn) {
  const { version, train, score, forest } = scikitLearn;
  report(`scikit-learn ${version}: MLPRegressor, step of 50 rows`, timeOf(train), us);
  report(`scikit-learn ${version}: MLPRegressor, a single row`, timeOf(score), us);
  report(`scikit-learn ${version}: IsolationForest`, timeOf(forest), ms);
} else console.log("scikit-learn: skipped, python3 does not have it");
