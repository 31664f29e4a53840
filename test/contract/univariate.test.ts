// The plan for one measured quantity, on streams of 5-minute rows: a day's season, noise, rare spikes, one level shift.
import { expect, onTestFinished, test } from "vitest";
import { trainFleet } from "../../bench/detection/fleet.ts";
import { DEFAULT_RULE } from "../../bench/detection/regimes.ts";
import type { BenchStream } from "../../bench/detection/streams.ts";
import { evaluateModel } from "../../coordinator/core/evaluate.ts";
import { compilePlan } from "../../learning/compile-plan.ts";
import { type Interval, runsOf } from "../../learning/events.ts";
import { presets } from "../../learning/presets.ts";
import { seededRandom } from "../../learning/random.ts";
import { decodeBundle, encodeBundle } from "../../proto/plan-bundle.ts";
import { PlanModel } from "../../runtime/plan-model.ts";

const ROW_MS = 300_000;
const DAY_ROWS = 288;
const ROWS = 3000;
const SHIFT_ROW = 2000;
const SEEDS = [1, 2, 3];
const { univariate } = presets;
const REFRACTORY_ROWS = univariate.alarm.kind === "onset" ? univariate.alarm.refractoryMs / ROW_MS : Number.NaN;

const LONGEST_WINDOW_ROWS = 32;

/** Rows at which a spike begins, and how far it goes, in deviations of the noise; a spike is two rows long. */
type Spikes = ReadonlyMap<number, number>;

function stream(seed: number, spikes: Spikes, shift: number): BenchStream {
  const random = seededRandom(1000 + seed);
  const [swing, phase] = [3 + 4 * random.next(), random.next()];
  const rows = Array.from({ length: ROWS }, (_, row) => {
    const season = swing * Math.sin(2 * Math.PI * (row / DAY_ROWS + phase));
    const spike = spikes.get(row) ?? 0.6 * (spikes.get(row - 1) ?? 0);
    return Float64Array.of(50 + season + random.normal() + spike + (row >= SHIFT_ROW ? shift : 0));
  });
  const atMs = rows.map((_, row) => Date.UTC(2026, 0, 1) + ROW_MS * row);
  return { group: "g", stream: `g/${seed}`, sha256: "", rows, atMs, labels: new Uint8Array(ROWS) };
}

/** Every 150 rows or so after the first 900, none near the shift; all far out, up and down. */
function rareSpikes(seed: number): Spikes {
  const random = seededRandom(2000 + seed);
  const spikes = new Map<number, number>();
  for (let row = 900; row < ROWS - 50; row += 110 + Math.floor(80 * random.next()))
    if (Math.abs(row - SHIFT_ROW) > 60) spikes.set(row, (random.next() < 0.5 ? -1 : 1) * (18 + 6 * random.next()));
  return spikes;
}

/** The alarms that a device has over its stream once it has learned alone from its head. */
async function alarms(device: BenchStream): Promise<Interval[]> {
  const { bytes, planId } = encodeBundle(compilePlan({ ...univariate, channels: [{ name: "value", unit: "" }] }));
  const bundle = decodeBundle(bytes, planId);
  const model = await PlanModel.load(bundle);
  onTestFinished(() => model.release());
  const settings = { headRows: univariate.commissioningRows, bundle, model, rule: DEFAULT_RULE, rounds: 10, liars: 0 };
  const { weights, fleet } = await trainFleet(settings, [[device]]);
  const evaluation = await evaluateModel(bundle.manifest, [device], (x, n) => model.score(weights, x, n), fleet);
  const flags = new Uint8Array(ROWS);
  for (const { rowIndex, alarm } of evaluation?.rows ?? []) flags[rowIndex] = alarm;
  return runsOf(flags);
}

test("rare spikes are told at their first row and once each, and little else is", async () => {
  let [spikesInAll, onsets, others] = [0, 0, 0];
  for (const seed of SEEDS) {
    const spikes = rareSpikes(seed);
    const told = await alarms(stream(seed, spikes, 0));
    for (const { begin } of told) spikes.has(begin) ? onsets++ : others++;
    spikesInAll += spikes.size;
  }
  expect(onsets / spikesInAll).toBeGreaterThan(0.8);
  expect(others).toBeLessThanOrEqual(SEEDS.length);
});

test("of several spikes within the refractory time the first is told, and the alarm ends once the windows have lost the last", async () => {
  const burst = new Map([1200, 1206, 1211].map((row) => [row, 25]));
  for (const seed of SEEDS) {
    const told = (await alarms(stream(seed, burst, 0))).filter(({ begin }) => begin >= 1200 && begin < 1250);
    expect(told).toHaveLength(1);
    expect(told[0]?.begin).toBe(1200);
    const end = Number(told[0]?.end);
    expect(end).toBeGreaterThanOrEqual(1211 + REFRACTORY_ROWS);
    expect(end).toBeLessThanOrEqual(1211 + 2 + LONGEST_WINDOW_ROWS + REFRACTORY_ROWS);
  }
});

test("a stream of season and noise alone raises hardly an alarm", async () => {
  for (const seed of SEEDS) expect((await alarms(stream(seed, new Map(), 0))).length).toBeLessThanOrEqual(2);
});

test("a level that shifts is told as it does, and is the new normal two days later", async () => {
  for (const seed of SEEDS) {
    const told = await alarms(stream(seed, new Map(), 15));
    const near = told.filter(({ begin }) => begin >= SHIFT_ROW && begin < SHIFT_ROW + 12);
    expect(near.length).toBeGreaterThanOrEqual(1);
    expect(told.filter(({ end }) => end > SHIFT_ROW + 2 * DAY_ROWS).length).toBeLessThanOrEqual(1);
  }
});
