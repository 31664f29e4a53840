// Training and scoring of the 38-16-38 autoencoder on one thread: onnxruntime beside the plain TypeScript step.
import { compilePlan } from "../learning/compile-plan.ts";
import type { PlanSettings } from "../learning/plan.ts";
import { seededRandom } from "../learning/random.ts";
import { encodeOnnx } from "../proto/onnx.ts";
import { PlanModel } from "../runtime/plan-model.ts";
import { PlainDense } from "../test/support/plain-autoencoder.ts";

const FEATURES = 38;
const BATCH_ROWS = 50;
const ROUNDS = 15;
const ROUND_MS = 100;

const settings: PlanSettings = {
  channels: Array.from({ length: FEATURES }, (_, at) => ({ name: `channel_${at}`, unit: "" })),
  commissioningRows: 100,
  normaliserRows: 2000,
  features: { windowRows: 1, rollingRows: 100, rolling: [] },
  model: { kind: "dense_autoencoder", hidden: [16] },
  training: { learningRate: 0.01, batchRows: BATCH_ROWS, triggerRows: 50, triggerMs: 60_000, passes: 1, seed: 1 },
  threshold: { rule: "quantile", quantile: 0.99, rows: 1000 },
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
const plain = new PlainDense([FEATURES, 16, FEATURES], plan.initialWeights, BATCH_ROWS);
let weights = plan.initialWeights;
const scoring = (rows: number) => ({
  name: `score ${rows}` as const,
  once: () => model.score(weights, x.subarray(0, rows * FEATURES), rows),
});

const timeOf = await compare([
  {
    name: "onnxruntime",
    once: async () => {
      weights = (await model.train(weights, batch, BATCH_ROWS, 0.001)).weights;
    },
  },
  { name: "plain", once: () => plain.train(plainBatch, plainBatch, 0.001) },
  ...[1, 50, 1000].map(scoring),
]);
await model.release();

const line = (what: string, median: string, best: string) =>
  console.log(what.padEnd(48), median.padStart(14), best.padStart(14));
const us = (value: number) => `${value.toFixed(1)} µs`;
const rowsPerSecond = (rows: number, microseconds: number) =>
  `${((rows * 1e6) / microseconds / 1e3).toFixed(0)} k rows/s`;

const [onnx, typescript] = [timeOf("onnxruntime"), timeOf("plain")];
line("38-16-38 autoencoder, one thread", "median", "best");
line("train step of 50 rows, onnxruntime", us(onnx.median), us(onnx.best));
line("train step of 50 rows, plain TypeScript, float64", us(typescript.median), us(typescript.best));
line(
  "plain / onnxruntime",
  `${(typescript.median / onnx.median).toFixed(1)} ×`,
  `${(typescript.best / onnx.best).toFixed(1)} ×`,
);
for (const rows of [1, 50, 1000]) {
  const { median, best } = timeOf(`score ${rows}`);
  line(`score, ${rows} rows a call`, rowsPerSecond(rows, median), rowsPerSecond(rows, best));
}
