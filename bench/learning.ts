// Training and scoring of the 38-16-38 autoencoder on one thread: onnxruntime beside two steps in TypeScript, both float64.
import { compilePlan } from "../learning/compile-plan.ts";
import type { PlanSettings } from "../learning/plan.ts";
import { seededRandom } from "../learning/random.ts";
import { encodeOnnx } from "../proto/onnx.ts";
import { PlanModel } from "../runtime/plan-model.ts";
import { PlainDense } from "../test/support/plain-autoencoder.ts";
import { LoopDense } from "./loop-step.ts";

const FEATURES = 38;
const BATCH_ROWS = 50;
const ROUNDS = 15;
const ROUND_MS = 100;
const LEARNING_RATE = 0.001;

const settings: PlanSettings = {
  channels: Array.from({ length: FEATURES }, (_, at) => ({ name: `channel_${at}`, unit: "" })),
  commissioningRows: 100,
  normaliserRows: 2000,
  features: { windowRows: 1, rollingRows: 100, rolling: [] },
  model: { kind: "dense_autoencoder", hidden: [16] },
  training: {
    learningRate: 0.01,
    batchRows: BATCH_ROWS,
    triggerRows: 50,
    triggerMs: 60_000,
    passes: 1,
    seed: 1,
    codec: { kind: "float32" },
  },
  threshold: { rule: { kind: "quantile", quantile: 0.99 }, rows: 1000 },
};

interface Contender {
  readonly name: string;
  readonly once: () => Promise<unknown> | unknown;
}

/** Microseconds a call. */
async function timeRound({ once }: Contender): Promise<number> {
  const start = performance.now();
  let calls = 0;
  while (performance.now() - start < ROUND_MS) {
    for (let i = 0; i < 20; i++) await once();
    calls += 20;
  }
  return ((performance.now() - start) * 1000) / calls;
}

/** Medians and minima over rounds in which all take turns, so that a busy machine slows all alike; the first warms up. */
async function compare<Name extends string>(contenders: readonly (Contender & { readonly name: Name })[]) {
  const times = new Map<Name, number[]>(contenders.map(({ name }) => [name, []]));
  for (let round = 0; round <= ROUNDS; round++) {
    for (const contender of contenders) {
      const microseconds = await timeRound(contender);
      if (round > 0) times.get(contender.name)?.push(microseconds);
    }
  }
  return (name: Name) => {
    const sorted = times.get(name)?.toSorted((a, b) => a - b) ?? [];
    return { median: sorted[sorted.length >> 1] as number, best: sorted[0] as number };
  };
}

const plan = compilePlan(settings);
const model = await PlanModel.load({
  manifest: plan.manifest,
  scoreOnnx: encodeOnnx(plan.score),
  trainOnnx: encodeOnnx(plan.train),
});
const random = seededRandom(1);
const x = Float32Array.from({ length: 1000 * FEATURES }, () => random.normal());
const batch = x.subarray(0, BATCH_ROWS * FEATURES);
const plainBatch = Float64Array.from(batch);
const loops = new LoopDense([FEATURES, 16, FEATURES], plan.initialWeights);
const tuned = new PlainDense([FEATURES, 16, FEATURES], plan.initialWeights, BATCH_ROWS);
let weights = plan.initialWeights;
const scoring = (rows: number) => ({
  name: `score ${rows}` as const,
  once: () => model.score(weights, x.subarray(0, rows * FEATURES), rows),
});

/** The contenders do the same work, or the comparison means nothing. */
async function checkSameSteps(): Promise<void> {
  for (let step = 0; step < 3; step++) {
    const trained = await model.train(weights, batch, BATCH_ROWS, LEARNING_RATE);
    weights = trained.weights;
    const others = [
      loops.train(plainBatch, BATCH_ROWS, LEARNING_RATE),
      tuned.train(plainBatch, plainBatch, LEARNING_RATE),
    ];
    if (others.some((loss) => !(Math.abs(loss / trained.loss - 1) < 1e-5)))
      throw new Error(`losses differ at step ${step}: ${[trained.loss, ...others].join(", ")}`);
  }
}

await checkSameSteps();
const timeOf = await compare([
  {
    name: "onnxruntime",
    once: async () => {
      weights = (await model.train(weights, batch, BATCH_ROWS, LEARNING_RATE)).weights;
    },
  },
  { name: "loops", once: () => loops.train(plainBatch, BATCH_ROWS, LEARNING_RATE) },
  { name: "tuned", once: () => tuned.train(plainBatch, plainBatch, LEARNING_RATE) },
  ...[1, 50, 1000].map(scoring),
]);
await model.release();

type Time = ReturnType<typeof timeOf>;
const line = (what: string, { median, best }: Record<keyof Time, string>, target = "") =>
  console.log(what.padEnd(52), median.padStart(14), best.padStart(14), target.padStart(10));
const each = ({ median, best }: Time, text: (value: number) => string) => ({ median: text(median), best: text(best) });
const us = (value: number) => `${value.toFixed(1)} µs`;
const times = (value: number) => `${value.toFixed(1)} ×`;
const ratio = (a: Time, b: Time) => ({ median: a.median / b.median, best: a.best / b.best });

const [onnx, plain, unrolled] = [timeOf("onnxruntime"), timeOf("loops"), timeOf("tuned")];
line("38-16-38 autoencoder, one thread", { median: "median", best: "best" }, "target");
line("train step of 50 rows, onnxruntime", each(onnx, us), "≤ 60 µs");
line("train step of 50 rows, TypeScript, plain loops", each(plain, us));
line("train step of 50 rows, TypeScript, unrolled by four", each(unrolled, us));
line("plain loops / onnxruntime", each(ratio(plain, onnx), times), "≥ 4 ×");
line("unrolled / onnxruntime", each(ratio(unrolled, onnx), times));
for (const rows of [1, 50, 1000]) {
  const rate = (microseconds: number) => `${((rows * 1e3) / microseconds).toFixed(0)} k rows/s`;
  line(`score, ${rows} rows a call`, each(timeOf(`score ${rows}`), rate));
}
