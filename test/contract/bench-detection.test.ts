// The benchmark's own parts: repeatable learning, regimes, tables, and the files it reads and writes.
import { mkdir, readFile, writeFile } from "node:fs/promises";
import { dirname, join, relative } from "node:path";
import { afterAll, expect, test } from "vitest";
import { type FleetSettings, type TrainedFleet, trainFleet } from "../../bench/detection/fleet.ts";
import { writeNabResults } from "../../bench/detection/nab.ts";
import {
  DEFAULT_CODEC,
  DEFAULT_RULE,
  FOREST_RULE,
  measure,
  seedPlan,
  trivialAnswers,
  type Variant,
} from "../../bench/detection/regimes.ts";
import { type BenchStream, type Dataset, skab } from "../../bench/detection/streams.ts";
import { type Answer, markdown, tableRows } from "../../bench/detection/table.ts";
import { compilePlan } from "../../learning/compile-plan.ts";
import type { PlanSettings } from "../../learning/plan.ts";
import { presets } from "../../learning/presets.ts";
import { seededRandom } from "../../learning/random.ts";
import { decodeBundle, encodeBundle } from "../../proto/plan-bundle.ts";
import { PlanModel } from "../../runtime/plan-model.ts";
import { temporaryFolder } from "../support/temp.ts";

const HEAD_ROWS = 130;
const ROWS = 260;
const ROUNDS = 3;

const plan = (seed = 1): PlanSettings => ({
  ...presets.machines,
  channels: ["a", "b", "c"].map((name) => ({ name, unit: "" })),
  commissioningRows: HEAD_ROWS,
  threshold: { ...presets.machines.threshold, rows: 60 },
  training: { ...presets.machines.training, seed },
});

/** Three channels that go together, until a fault of 40 rows takes one of them away. */
function stream(group: string, index: number): BenchStream {
  const random = seededRandom(100 + index);
  const isFault = (row: number) => row >= 180 && row < 220;
  const rows = Array.from({ length: ROWS }, (_, row) => {
    const load = random.normal();
    const reading = (gain: number) => gain * load + 0.2 * random.normal();
    return Float64Array.of(reading(1), reading(-2) + (isFault(row) ? 15 : 0), reading(0.5));
  });
  return {
    group,
    stream: `${group}/${index}`,
    sha256: "",
    rows,
    atMs: rows.map((_, row) => 1000 * row),
    labels: Uint8Array.from(rows, (_, row) => (isFault(row) ? 1 : 0)),
  };
}

const learners = Array.from({ length: 6 }, (_, index) => stream(index < 3 ? "north" : "south", index));
const newcomer = stream("later", 6);
const data: Dataset = {
  channels: plan().channels,
  streams: [...learners, newcomer],
  onlyEvaluated: new Set(["later"]),
};

const models: PlanModel[] = [];
afterAll(async () => {
  for (const model of models) await model.release();
});

async function settings(change: Partial<FleetSettings> = {}, seed = 1): Promise<FleetSettings> {
  const { bytes, planId } = encodeBundle(compilePlan(plan(seed)));
  const bundle = decodeBundle(bytes, planId);
  const model = await PlanModel.load(bundle);
  models.push(model);
  return { bundle, model, rule: DEFAULT_RULE, rounds: ROUNDS, liars: 0, ...change };
}

const gateways = (streams: readonly BenchStream[]) => streams.map((device) => [device]);
const distance = (a: TrainedFleet, b: TrainedFleet) =>
  Math.hypot(...a.weights.map((weight, i) => weight - Number(b.weights[i])));

test("the same seed gives the same weights and fleet statistics to the bit, another seed others", async () => {
  const first = await trainFleet(await settings(), gateways(learners));
  const again = await trainFleet(await settings(), gateways(learners));
  expect(again).toEqual(first);
  expect(first.weights.every(Number.isFinite)).toBe(true);
  expect(first.fleet.scales).not.toBeNull();
  expect(first.fleet.thresholdFactor).toBeGreaterThan(1);
  const other = await trainFleet(await settings({}, 2), gateways(learners));
  expect(other.weights).not.toEqual(first.weights);
});

test("no row behind the head reaches what is learned, and each of the head's does", async () => {
  const changed = (from: number): BenchStream[] =>
    learners.map((device) => ({
      ...device,
      rows: device.rows.map((row, index) => (index >= from ? row.map((value) => 3 * value + 7) : row)),
      labels: device.labels.map((label, index) => (index >= from ? 1 - label : label)),
    }));
  const fleet = await settings();
  const trained = await trainFleet(fleet, gateways(learners));
  expect(await trainFleet(fleet, gateways(changed(HEAD_ROWS)))).toEqual(trained);
  expect((await trainFleet(fleet, gateways(changed(HEAD_ROWS - 1)))).weights).not.toEqual(trained.weights);
});

test("a gateway that lies undoes what the plain mean learns, and moves multi-krum's little", async () => {
  const learned = async (rule: FleetSettings["rule"], liars: number) =>
    trainFleet(await settings({ rule, liars, rounds: 8 }), gateways(learners));
  const untrained = await trainFleet(await settings({ rounds: 0 }), gateways(learners));
  for (const [rule, most] of [
    [{ kind: "fedavg" }, Number.POSITIVE_INFINITY],
    [DEFAULT_RULE, 0.25],
  ] as const) {
    const honest = await learned(rule, 0);
    const lied = await learned(rule, 1);
    const moved = distance(lied, honest) / distance(honest, untrained);
    expect(moved).toBeLessThan(most);
    if (rule.kind === "fedavg") expect(moved).toBeGreaterThan(0.5);
  }
});

test("without a round nothing was sent", async () => {
  expect((await trainFleet(await settings({ rounds: 0 }), gateways(learners))).bytesPerUpdate).toBeNull();
});

const variant = (change: Partial<Variant>): Variant => ({
  regime: "federated",
  rule: DEFAULT_RULE,
  codec: DEFAULT_CODEC,
  liars: 0,
  ...change,
});
const GROUPS = ["north", "south", "later", "pooled"];

test.each(["federated", "centralised", "local", "no network", "seed design"] as const)(
  "%s is measured on every group and on all that learn together",
  async (regime) => {
    const measured = regime === "seed design" ? seedPlan(data.channels, HEAD_ROWS) : plan();
    const answers = await measure(measured, data, variant({ regime }), ROUNDS);
    expect(answers.map(({ group }) => group)).toEqual(GROUPS);
    const evaluatedRows = ({ scores: { tp, fp, tn, fn } }: Answer) => tp + fp + tn + fn;
    const rows = answers.map(evaluatedRows);
    expect(rows).toEqual([3, 3, 1, 6].map((streams) => streams * (ROWS - HEAD_ROWS)));
    for (const { regime: named, rule, codec, bytesPerUpdate } of answers) {
      expect(named).toBe(regime);
      const sends = regime === "federated";
      expect([rule, codec]).toEqual(sends ? ["multi_krum", "int8"] : [null, null]);
      expect(bytesPerUpdate).toEqual(sends ? expect.any(Number) : null);
    }
  },
);

test.each(["pooled forest", "own forest"] as const)("a %s goes the way of a fleet's model", async (regime) => {
  const grown: PlanSettings = {
    ...presets.forest,
    channels: data.channels,
    commissioningRows: HEAD_ROWS,
    model: { kind: "isolation_forest", trees: 20, subsampleRows: 60 },
    threshold: { ...presets.forest.threshold, rows: 60 },
  };
  const measured = () =>
    measure(grown, data, variant({ regime, rule: FOREST_RULE, codec: { kind: "float32" } }), ROUNDS);
  const answers = await measured();
  expect(await measured()).toEqual(answers);
  expect(answers.map(({ group }) => group)).toEqual(GROUPS);
  const sends = regime === "pooled forest";
  for (const { rule, bytesPerUpdate } of answers) {
    expect(rule).toBe(sends ? "pool_trees" : null);
    // 20 trees of 63 splits (feature, threshold) and 64 ends, 4 bytes each.
    expect(bytesPerUpdate).toBe(sends ? 15_200 : null);
  }
});

test("a fault that takes a channel away is found by the fleet's model, in the newcomer too", async () => {
  for (const { scores } of await measure(plan(), data, variant({}), ROUNDS)) {
    expect(scores.events?.recall).toBe(1);
    expect(scores.events?.precision).toBe(1);
    expect(scores.prAuc).toBeGreaterThan(0.5);
  }
});

test("liars stand in the regime's name", async () => {
  const [answer] = await measure(plan(), data, variant({ liars: 0.2, rule: { kind: "fedavg" } }), 1);
  expect(answer).toMatchObject({ regime: "federated, 20 % lie", rule: "fedavg" });
});

test("the trivial answers are on the same rows", () => {
  const trivial = trivialAnswers(plan(), data);
  expect(trivial.map(({ regime, group }) => `${regime} ${group}`)).toEqual(
    ["north", "south", "later"].flatMap((group) => [`always alarm ${group}`, `z-score ${group}`]),
  );
  expect(trivial[0]?.scores).toMatchObject({ tp: 120, fp: 270, tn: 0, fn: 0 });
});

test("a table's row is the mean over its seeds, null where one of them has no number", async () => {
  const [answer] = trivialAnswers(plan(), data);
  if (answer === undefined) throw new Error("there is no answer");
  const with_ = (change: Partial<Answer["scores"]>): Answer => ({
    ...answer,
    scores: { ...answer.scores, tp: 8, fn: 2, fp: 1, tn: 9, ...change },
  });
  const [row] = tableRows([with_({ f1: 0.8, prAuc: 0.5 }), with_({ f1: 0.6, prAuc: null, fp: 3, tn: 7 })]);
  expect(row).toMatchObject({ seeds: 2, prAuc: null, bytesPerUpdate: null });
  expect(row?.f1).toBeCloseTo(0.7);
  expect(row?.f1Sd).toBeCloseTo(Math.SQRT2 / 10);
  expect(row?.falseAlarmRate).toBeCloseTo(0.2);
  expect(row?.missingRate).toBeCloseTo(0.2);
  const [alone] = tableRows([with_({ f1: 0.8, fp: 0, tn: 0, events: null })]);
  expect(alone).toMatchObject({ f1Sd: null, falseAlarmRate: null, eventRecall: null, episodes: null });
  const cells = markdown(alone === undefined ? [] : [alone]).split("\n")[2];
  expect(cells).toContain("| 0.800 ");
  expect(cells).toContain("| – ");
});

test("rows of another group, rule, codec or regime are rows of their own", () => {
  const [answer] = trivialAnswers(plan(), data);
  if (answer === undefined) throw new Error("there is no answer");
  const others: Partial<Answer>[] = [{ group: "x" }, { rule: "median" }, { codec: "int8" }, { regime: "x" }];
  expect(tableRows([answer, ...others.map((other) => ({ ...answer, ...other })), answer])).toHaveLength(5);
});

const folder = temporaryFolder("bench-detection");

async function write(path: string, lines: readonly string[]): Promise<void> {
  const file = join(folder, path);
  await mkdir(dirname(file), { recursive: true });
  await writeFile(file, `${lines.join("\n")}\n`);
}

test("a folder as SKAB's: groups by their folders, labels apart, the anomaly-free file as a later device", async () => {
  const labelled = (anomaly: number) => [
    "datetime;Current;Volume Flow RateRMS;anomaly;changepoint",
    "2020-03-09 10:14:33;1.5;32.0;0.0;0.0",
    `2020-03-09 10:14:35;1.75;32.5;${anomaly}.0;1.0`,
  ];
  for (const [path, lines] of [
    ["skab/valve1/10.csv", labelled(0)],
    ["skab/valve1/2.csv", labelled(1)],
    ["skab/valve2/0.csv", labelled(1)],
    ["skab/anomaly-free/anomaly-free.csv", ["datetime;Current;Volume Flow RateRMS", "2020-02-08 13:30:47;2;122"]],
  ] as const)
    await write(path, lines);
  const all = await skab(join(folder, "skab"), "all");
  expect(all.channels.map(({ name }) => name)).toEqual(["Current", "Volume Flow RateRMS"]);
  expect(all.streams.map(({ stream: name }) => name)).toEqual([
    "anomaly-free/anomaly-free",
    "valve1/2",
    "valve1/10",
    "valve2/0",
  ]);
  const [free, second] = all.streams;
  expect(free?.labels).toEqual(Uint8Array.of(0));
  expect(second?.rows).toEqual([Float64Array.of(1.5, 32), Float64Array.of(1.75, 32.5)]);
  expect(second?.labels).toEqual(Uint8Array.of(0, 1));
  expect(second?.atMs).toEqual([Date.UTC(2020, 2, 9, 10, 14, 33), Date.UTC(2020, 2, 9, 10, 14, 35)]);
  const one = await skab(join(folder, "skab"), ["valve1"]);
  expect([...new Set(one.streams.map(({ group }) => group))]).toEqual(["anomaly-free", "valve1"]);
  expect(one.onlyEvaluated).toEqual(new Set(["anomaly-free"]));
  await expect(skab(join(folder, "skab"), ["valve3"])).rejects.toThrow(/no folder valve3; it has .*valve1/);
});

const NAB_ROWS = 1600;
const PROBATION = 0.15 * NAB_ROWS;
const SPIKE_ROW = 1000;
const timestamp = (row: number) =>
  new Date(Date.UTC(2014, 0, 1) + 300_000 * row).toISOString().slice(0, 19).replace("T", " ");

async function nabFolder(values: readonly (number | string)[]): Promise<string> {
  const name = join(folder, `nab-${values.length}`);
  const base = relative(folder, name);
  await write(join(base, "data/artificial/spike.csv"), [
    "timestamp,value",
    ...values.map((value, row) => `${timestamp(row)},${value}`),
  ]);
  const window = [`${timestamp(SPIKE_ROW - 20)}.000000`, `${timestamp(SPIKE_ROW + 20)}.000000`];
  await write(join(base, "labels/combined_windows.json"), [JSON.stringify({ "artificial/spike.csv": [window] })]);
  return name;
}

test("NAB's result files: a path for each detector, scores below 1, none in the probation, the spike's the highest", async () => {
  const random = seededRandom(3);
  const values = Array.from({ length: NAB_ROWS }, (_, row) => 50 + random.normal() + (row === SPIKE_ROW ? 30 : 0));
  const name = await nabFolder(values);
  const written = await writeNabResults(name, 2);
  expect(written.map((file) => relative(name, file))).toEqual([
    "results/flead_machines/artificial/flead_machines_spike.csv",
    "results/flead_univariate/artificial/flead_univariate_spike.csv",
  ]);
  for (const file of written) {
    const [header, ...lines] = (await readFile(file, "utf8")).trimEnd().split("\n");
    expect(header).toBe("timestamp,value,anomaly_score,label");
    const cells = lines.map((line) => line.split(","));
    expect(cells.map(([time]) => time)).toEqual(values.map((_, row) => timestamp(row)));
    expect(cells.map(([, value]) => value)).toEqual(values.map(String));
    const inWindow = (row: number) => row >= SPIKE_ROW - 20 && row <= SPIKE_ROW + 20;
    expect(cells.map(([, , , label]) => label)).toEqual(values.map((_, row) => (inWindow(row) ? "1" : "0")));
    const scores = cells.map(([, , score]) => Number(score));
    expect(scores.every((score) => score >= 0 && score < 1)).toBe(true);
    expect(scores.slice(0, PROBATION).every((score) => score === 0)).toBe(true);
    expect(scores.slice(PROBATION).some((score) => score > 0)).toBe(true);
    if (file.includes("univariate")) expect(scores.indexOf(Math.max(...scores))).toBe(SPIKE_ROW);
  }
});

test("a NAB file with a value that is no number is named with its line", async () => {
  const name = await nabFolder([1, "NaN", 3]);
  await expect(writeNabResults(name, 1)).rejects.toThrow(/spike\.csv line 3: .*NaN/);
});
