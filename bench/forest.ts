// The isolation forest on one thread: typed arrays beside onnxruntime, and scikit-learn where python3 has it.
import { spawnSync } from "node:child_process";
import { DEFAULT_FOREST, IsolationForest } from "../learning/isolation-forest.ts";
import { seededRandom } from "../learning/random.ts";
import { encodeForest } from "../proto/forest-onnx.ts";
import { ForestScorer } from "../runtime/forest-scorer.ts";

const CHANNELS = 8;
const ROWS = 1000;
const BATCHES = [1, 50, 1000] as const;
const ROUNDS = 15;
const ROUND_MS = 50;

const SCIKIT_LEARN = `
import json, sys, time
import numpy as np
try:
    import sklearn
    from sklearn.ensemble import IsolationForest
except ImportError:
    print(json.dumps(None)); sys.exit()
x = np.frombuffer(sys.stdin.buffer.read()).reshape(-1, ${CHANNELS})
def times(once, rounds):
    once()
    taken = []
    for _ in range(rounds):
        start = time.perf_counter(); once(); taken.append((time.perf_counter() - start) * 1e3)
    return taken
forest = IsolationForest(n_estimators=${DEFAULT_FOREST.trees}, max_samples=${DEFAULT_FOREST.subsampleRows}, random_state=42, n_jobs=1)
print(json.dumps({
    "version": sklearn.__version__,
    "train": times(lambda: forest.fit(x), 5),
    "score": {rows: times(lambda: forest.score_samples(x[:rows]), ${ROUNDS}) for rows in ${JSON.stringify(BATCHES)}},
    "scores": (-forest.score_samples(x)).tolist(),
}))`;

interface ScikitLearn {
  readonly version: string;
  /** Milliseconds a call. */
  readonly train: readonly number[];
  readonly score: Readonly<Record<string, readonly number[]>>;
  readonly scores: readonly number[];
}

function runScikitLearn(x: Float64Array): ScikitLearn | null {
  const { status, stdout } = spawnSync("python3", ["-c", SCIKIT_LEARN], { input: Buffer.from(x.buffer) });
  return status === 0 ? JSON.parse(stdout.toString()) : null;
}

/** Milliseconds a call, over calls for at least ROUND_MS. */
async function timeRound(once: () => unknown): Promise<number> {
  const start = performance.now();
  let calls = 0;
  do {
    await once();
    calls++;
  } while (performance.now() - start < ROUND_MS);
  return (performance.now() - start) / calls;
}

/** Rounds in which all take turns, so that a busy machine slows all alike; the first warms up. */
async function compare(contenders: Readonly<Record<string, () => unknown>>): Promise<Map<string, number[]>> {
  const times = new Map<string, number[]>(Object.keys(contenders).map((name) => [name, []]));
  for (let round = 0; round <= ROUNDS; round++) {
    for (const [name, once] of Object.entries(contenders)) {
      const taken = await timeRound(once);
      if (round > 0) times.get(name)?.push(taken);
    }
  }
  return times;
}

function line(what: string, median: string, best: string, target = ""): void {
  console.log(what.padEnd(52), median.padStart(16), best.padStart(16), target.padStart(14));
}

function report(what: string, given: readonly number[] | undefined, text: (ms: number) => string, target = ""): void {
  const sorted = given?.toSorted((a, b) => a - b) ?? [];
  line(what, text(sorted[sorted.length >> 1] as number), text(sorted[0] as number), target);
}

/** The next `rows` rows at each call, since paths that never change are learned by the processor. */
function batches(rows: number): () => Float64Array {
  let from = 0;
  return () => {
    const batch = x.subarray(from * CHANNELS, (from + rows) * CHANNELS);
    from = (from + rows) % ROWS;
    return batch;
  };
}

const random = seededRandom(1);
const x = Float64Array.from({ length: ROWS * CHANNELS }, () => random.normal());
const train = () => IsolationForest.train(x, CHANNELS);
const coldStart = performance.now();
const forest = train();
const coldMs = performance.now() - coldStart;
const onnx = encodeForest(forest.trees);
const scorer = new ForestScorer(() => onnx, CHANNELS);
const inOnnxruntime = (rows: Float64Array) => scorer.score(forest.trees.threshold, forest.standardise(rows));
const own = forest.scoreRows(x);

const meanDifference = (scores: ArrayLike<number>) =>
  own.reduce((sum, score, row) => sum + Math.abs(score - (scores[row] as number)), 0) / ROWS;

const times = await compare({
  train,
  ...Object.fromEntries(
    BATCHES.flatMap((rows) => {
      const batch = batches(rows);
      const plain = rows === 1 ? () => forest.score(batch()) : () => forest.scoreRows(batch());
      return [
        [`typed arrays ${rows}`, plain],
        [`onnxruntime ${rows}`, () => inOnnxruntime(batch())],
      ];
    }),
  ),
});
const onnxDifference = Math.max(
  ...(await inOnnxruntime(x)).map((score, row) => Math.abs(score - (own[row] as number))),
);
await scorer.release();
const scikitLearn = runScikitLearn(x);

const ms = (value: number) => `${value.toFixed(1)} ms`;
const rate = (rows: number) => (value: number) => `${(rows / value).toFixed(1)} k rows/s`;
line(
  `${DEFAULT_FOREST.trees} trees of ${DEFAULT_FOREST.subsampleRows} rows, ${CHANNELS} channels`,
  "median",
  "best",
  "target",
);
report(`train on ${ROWS} rows, typed arrays`, times.get("train"), ms, "≤ 50 ms");
report("  the first time in the process", [coldMs], ms, "≤ 50 ms");
if (scikitLearn) report(`train on ${ROWS} rows, scikit-learn ${scikitLearn.version}`, scikitLearn.train, ms);
for (const rows of BATCHES) {
  const target = rows === 1 ? "≥ 100 k rows/s" : "";
  report(`score, ${rows} rows a call, typed arrays`, times.get(`typed arrays ${rows}`), rate(rows), target);
  report(`score, ${rows} rows a call, onnxruntime`, times.get(`onnxruntime ${rows}`), rate(rows));
  if (scikitLearn) report(`score, ${rows} rows a call, scikit-learn`, scikitLearn.score[rows], rate(rows));
}
console.log(`scores, typed arrays and onnxruntime: ${onnxDifference.toExponential(1)} apart at most`);
if (scikitLearn)
  console.log(
    `scores, typed arrays and scikit-learn: ${meanDifference(scikitLearn.scores).toFixed(4)} apart on average`,
  );
else console.log("scikit-learn: skipped, python3 does not have it");
console.log(`graph: ${(onnx.length / 1024).toFixed(0)} KiB`);
