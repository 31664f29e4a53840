import { expect, test } from "vitest";
import { createPump, FAULTS, type FaultKind, PLANT_CHANNELS, type PumpRow } from "../../cli/demo/plant.ts";
import { operatingPoint, ratedKw } from "../../cli/demo/plant-hydraulics.ts";

const START_MS = 1_700_000_000_000;

function rows(count: number, settings: Partial<Parameters<typeof createPump>[0]> = {}): PumpRow[] {
  const pump = createPump({
    seed: 42,
    pumpIndex: 0,
    startMs: START_MS,
    firstFaultAfterRows: 300,
    faultEveryRows: 300,
    ...settings,
  });
  return Array.from({ length: count }, () => pump.next());
}

const healthy = { firstFaultAfterRows: Number.POSITIVE_INFINITY };
const column = (name: string) => PLANT_CHANNELS.findIndex((channel) => channel.name === name);
const reading = (row: PumpRow | undefined, name: string) => row?.values[column(name)] as number;

test("the same seed gives the same rows to the bit, another seed or pump gives others", () => {
  expect(rows(1500)).toEqual(rows(1500));
  for (const other of [{ pumpIndex: 1 }, { seed: 43 }]) {
    const [a, b] = [rows(1), rows(1, other)];
    expect(b[0]?.values.some((value, c) => value === a[0]?.values[c])).toBe(false);
  }
});

test("rows come one a second from the start", () => {
  expect(rows(3).map(({ atMs }) => atMs - START_MS)).toEqual([0, 1000, 2000]);
});

test("physical bounds hold in health and in every fault", () => {
  const bounds: Record<string, [number, number]> = {
    vibration_x: [0.1, 12],
    vibration_y: [0.1, 12],
    current: [2, 80],
    pressure: [1, 10],
    suction_pressure: [0, 1.6],
    temperature: [15, 70],
    flow: [0, 160],
    speed: [1700, 3150],
  };
  for (let pumpIndex = 0; pumpIndex < 12; pumpIndex++) {
    for (const row of rows(3000, { pumpIndex })) {
      PLANT_CHANNELS.forEach(({ name }, c) => {
        const [low, high] = bounds[name] as [number, number];
        const value = row.values[c] as number;
        if (!(value >= low && value <= high)) throw new Error(`pump ${pumpIndex}: ${name} is ${value}`);
      });
    }
  }
});

test("no fault starts early, each lasts 40 to 120 rows, and every kind comes before one comes again", () => {
  for (let pumpIndex = 0; pumpIndex < 6; pumpIndex++) {
    const seen = rows(4000, { pumpIndex });
    expect(seen.findIndex(({ fault }) => fault)).toBeGreaterThanOrEqual(300);
    const episodes: { kind: FaultKind; length: number }[] = [];
    seen.forEach(({ fault }, i) => {
      if (fault === null) return;
      if (fault !== seen[i - 1]?.fault) episodes.push({ kind: fault.kind, length: 0 });
      (episodes.at(-1) as { length: number }).length++;
      expect(fault.channel !== null).toBe(fault.kind === "sensor_stuck");
    });
    expect(new Set(episodes.slice(0, FAULTS.length).map(({ kind }) => kind)).size).toBe(FAULTS.length);
    for (const { length } of episodes.slice(0, -1)) {
      expect(length).toBeGreaterThanOrEqual(40);
      expect(length).toBeLessThanOrEqual(120);
    }
  }
});

test("a pump without faults lives the same life until the first one", () => {
  const [broken, whole] = [rows(900), rows(900, healthy)];
  const first = broken.findIndex(({ fault }) => fault);
  expect(first).toBeGreaterThan(0);
  expect(broken.slice(0, first)).toEqual(whole.slice(0, first));
  expect(whole.every(({ fault }) => fault === null)).toBe(true);
});

/** Mean ratio of a channel in the deep part of faults of one kind to the same pump without faults. */
function effect(kind: FaultKind, name: string): number {
  const ratios: number[] = [];
  for (let pumpIndex = 0; pumpIndex < 8; pumpIndex++) {
    const [broken, whole] = [rows(3000, { pumpIndex }), rows(3000, { pumpIndex, ...healthy })];
    broken.forEach(({ fault }, i) => {
      const deep = fault?.kind === kind && broken[i - 30]?.fault === fault && broken[i + 5]?.fault === fault;
      if (deep) ratios.push(reading(broken[i], name) / reading(whole[i], name));
    });
  }
  expect(ratios.length).toBeGreaterThan(100);
  return ratios.reduce((sum, ratio) => sum + ratio, 0) / ratios.length;
}

test.each<[FaultKind, Record<string, "up" | "down" | "same">]>([
  ["valve_closing", { flow: "down", pressure: "up", current: "down", vibration_x: "up", speed: "same" }],
  [
    "imbalance",
    { vibration_x: "up", vibration_y: "up", temperature: "up", flow: "same", pressure: "same", current: "same" },
  ],
  ["cavitation", { suction_pressure: "down", pressure: "down", flow: "down", vibration_x: "up", vibration_y: "up" }],
  ["leak", { flow: "down", pressure: "down", current: "up", speed: "same" }],
])("%s moves the channels as physics says", (kind, moves) => {
  for (const [name, direction] of Object.entries(moves)) {
    const ratio = effect(kind, name);
    if (direction === "up") expect(ratio, name).toBeGreaterThan(1.01);
    else if (direction === "down") expect(ratio, name).toBeLessThan(0.99);
    else expect(Math.abs(ratio - 1), name).toBeLessThan(0.003);
  }
});

test("a stuck sensor repeats its last reading and touches no other channel", () => {
  const [broken, whole] = [rows(3000), rows(3000, healthy)];
  const stuck = broken.flatMap(({ fault }, i) => (fault?.kind === "sensor_stuck" ? [i] : []));
  expect(stuck.length).toBeGreaterThan(40);
  for (const i of stuck) {
    const name = broken[i]?.fault?.channel as string;
    const before = broken.findLastIndex(({ fault }, j) => j < i && fault !== broken[i]?.fault);
    expect(reading(broken[i], name)).toBe(reading(broken[before], name));
    expect(reading(broken[i], "suction_pressure")).toBe(reading(whole[i], "suction_pressure"));
    expect(reading(broken[i], "speed")).toBe(reading(whole[i], "speed"));
  }
});

test("load changes move a healthy pump far, and flow, pressure and current with it", () => {
  const seen = rows(2400, healthy);
  const series = (name: string) => seen.map((row) => reading(row, name));
  const correlation = (a: number[], b: number[]) => {
    const mean = (v: number[]) => v.reduce((s, x) => s + x, 0) / v.length;
    const cov = (p: number[], q: number[]) => mean(p.map((x, i) => (x - mean(p)) * ((q[i] as number) - mean(q))));
    return cov(a, b) / Math.sqrt(cov(a, a) * cov(b, b));
  };
  const flow = series("flow");
  expect(Math.max(...flow) / Math.min(...flow)).toBeGreaterThan(1.6);
  for (const name of ["pressure", "current", "speed"]) expect(correlation(flow, series(name))).toBeGreaterThan(0.9);
  expect(correlation(flow, series("suction_pressure"))).toBeLessThan(-0.8);
});

test("the bearing warms with the load, late", () => {
  const seen = rows(4000, healthy);
  const lagged = (lag: number) => {
    const pairs = seen.slice(lag).map((row, i) => [reading(row, "temperature"), reading(seen[i], "speed")] as const);
    const mean = (c: 0 | 1) => pairs.reduce((s, p) => s + p[c], 0) / pairs.length;
    const [m0, m1] = [mean(0), mean(1)];
    return pairs.reduce((s, [a, b]) => s + (a - m0) * (b - m1), 0) / pairs.length;
  };
  expect(lagged(30)).toBeGreaterThan(1.1 * lagged(0));
  expect(lagged(30)).toBeGreaterThan(0);
});

test("the operating point follows the affinity laws and meets the rated power", () => {
  const design = { bestFlow: 80, shutOffHead: 50, bestEfficiency: 0.7 };
  const at = (speed: number, resistance = 1) => operatingPoint(design, { speed, resistance, leak: 0, headLoss: 0 });
  expect(at(1).pumpFlow).toBeCloseTo(80, 9);
  expect(at(1).head).toBeCloseTo(40, 9);
  expect(at(1).shaftKw).toBeCloseTo(ratedKw(design), 9);
  expect(at(0.8).pumpFlow).toBeLessThan(0.8 * 80);
  expect(at(1, 4).head).toBeGreaterThan(at(1).head);
  const leaking = operatingPoint(design, { speed: 1, resistance: 1, leak: 0.2, headLoss: 0 });
  expect(leaking.pumpFlow).toBeGreaterThan(80);
  expect(leaking.meteredFlow).toBeLessThan(80);
});
