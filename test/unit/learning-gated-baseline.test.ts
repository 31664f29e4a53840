import { expect, test } from "vitest";
import { GatedBaseline } from "../../learning/gated-baseline.ts";
import { columnOf, GATED, type GatedSettings, mean, rowsOf } from "../support/front-end-plan.ts";

const ONE = Uint8Array.of(1);

/** One channel's baseline; `see` gives its level after each value. */
function baseline(change: Partial<GatedSettings> = {}) {
  const gated = new GatedBaseline(1, { ...GATED, ...change });
  const see = (values: readonly number[]): number[] =>
    values.map((value) => {
      gated.observe(Float64Array.of(value), ONE);
      return Number(gated.level[0]);
    });
  return { gated, see };
}

const noise = (count: number, level = 0, seed = 1) => columnOf(rowsOf(1, count, 1, level, seed), 0);

/** Commissioned on 40 rows of deviation 1 around 100. */
function commissioned(change: Partial<GatedSettings> = {}) {
  const { gated, see } = baseline(change);
  see(noise(40, 100));
  gated.commission();
  return { gated, see, scale: Number(gated.scale[0]), level: () => Number(gated.level[0]) };
}

test("the level is the mean of the first rows, and from the memory's length on older rows fade", () => {
  const { see } = baseline({ memoryRows: 10 });
  const values = noise(30, 5);
  const levels = see(values);
  expect(levels[0]).toBe(values[0]);
  expect(levels[9]).toBeCloseTo(mean(values.slice(0, 10)), 12);
  let expected = levels[9] as number;
  for (const value of values.slice(10)) expected += (value - expected) / 10;
  expect(levels[29]).toBeCloseTo(expected, 12);
});

test("the scale is the rms of the mean's distance from the level over the commissioning rows from the plan's on", () => {
  const { gated, see } = baseline();
  const values = noise(40, 100);
  const levels = see(values);
  const from = GATED.scaleFromRow - 1;
  const meanDistance = (at: number) => mean(values.slice(at - 7, at + 1)) - (levels[at] as number);
  const rms = (distance: (at: number) => number) =>
    Math.sqrt(mean(values.map((_, at) => distance(at) ** 2).slice(from)));
  expect(gated.scale[0]).toBeCloseTo(rms(meanDistance), 9);
  expect(gated.spread[0]).toBeCloseTo(
    rms((at) => (values[at] as number) - (levels[at] as number)),
    9,
  );
  gated.commission();
  const [scale, spread] = [gated.scale[0], gated.spread[0]];
  see(noise(100, 100, 2));
  expect([gated.scale[0], gated.spread[0]]).toEqual([scale, spread]);
});

test("before there is a scale every distance is as good as none", () => {
  const { gated, see } = baseline();
  expect([gated.scale[0], gated.settled]).toEqual([Number.POSITIVE_INFINITY, false]);
  see(noise(19));
  expect([gated.scale[0], gated.settled]).toEqual([Number.POSITIVE_INFINITY, false]);
  see([0]);
  expect(gated.settled).toBe(true);
  expect(gated.scale[0]).toBeLessThan(10);
});

test("commissioned, the level follows a drift whose mean stays within the gate", () => {
  const { see, scale } = commissioned();
  const drift = Array.from({ length: 400 }, (_, row) => 100 + 0.05 * scale * row);
  expect(see(drift).at(-1)).toBeGreaterThan(100 + 15 * scale);
});

test("the level stands still in a step beyond the gate, and goes on when the run returns to its level", () => {
  const { see, scale, level } = commissioned();
  const step = see(new Array(500).fill(100 + 50 * scale));
  // The mean passes the gate in the step's first rows, after which nothing moves.
  expect(new Set(step.slice(8)).size).toBe(1);
  expect(Math.abs(level() - 100)).toBeLessThan(5 * scale);
  see(new Array(300).fill(100 + scale));
  expect(level()).toBeCloseTo(100 + scale, 1);
});

test("a step within the gate is followed", () => {
  const { see, scale, level } = commissioned();
  see(new Array(300).fill(level() + 4 * scale));
  expect(level()).toBeGreaterThan(100 + 3 * scale);
});

test("channels stand still each for itself, and while commissioning none does", () => {
  const gated = new GatedBaseline(2, GATED);
  const rows = rowsOf(2, 40);
  for (const row of rows) gated.observe(row, Uint8Array.of(1, 1));
  gated.observe(Float64Array.of(0, 1e6), Uint8Array.of(1, 1));
  expect(gated.level[1]).toBeGreaterThan(1e4);
  gated.commission();
  for (let row = 0; row < 300; row++) gated.observe(Float64Array.of(1e9, Number(gated.level[1])), Uint8Array.of(1, 1));
  expect(gated.level[0]).toBeLessThan(1e9);
  const [first, second] = gated.level;
  gated.observe(Float64Array.of(1e9, Number(second) + 1), Uint8Array.of(1, 1));
  expect([gated.level[0] === first, gated.level[1] === second]).toEqual([true, false]);
});

test("a constant channel has a scale in proportion to its level, one of its own at zero, and notices any change", () => {
  const scaleOf = (level: number) => {
    const { gated, see } = baseline();
    see(new Array(40).fill(level));
    gated.commission();
    see(new Array(20).fill(level + 1));
    return { scale: gated.scale[0], level: Number(gated.level[0]) };
  };
  expect(scaleOf(-5e3).scale).toBeCloseTo(5e-3, 12);
  expect(scaleOf(0)).toEqual({ scale: 1e-12, level: 0 });
});

test("the gate is told in the scale that counts: the fleet's floor opens it", () => {
  const { gated, see, scale, level } = commissioned();
  const far = level() + 20 * scale;
  const before = level();
  see(new Array(50).fill(far));
  expect(level() - before).toBeLessThan(5 * scale);
  gated.adoptFloor(Float64Array.of(10 * scale));
  expect([gated.inForce(0), gated.scale[0]]).toEqual([10 * scale, scale]);
  see(new Array(400).fill(far));
  expect(level()).toBeCloseTo(far, 1);
  gated.adoptFloor(Float64Array.of(scale / 2));
  expect(gated.inForce(0)).toBe(scale);
  gated.adoptFloor(null);
  expect(gated.inForce(0)).toBe(scale);
});

test("a device that starts in a fault stands still at it once it works, until it is let go there", () => {
  const { gated, see } = baseline();
  see(noise(40, 500));
  gated.commission();
  const atFault = see(noise(300, 100, 3)).at(-1);
  expect(Math.abs(Number(atFault) - 500)).toBeLessThan(3);
  gated.settle("released", false);
  expect(Math.abs(Number(gated.level[0]) - 100)).toBeLessThan(2);
  expect(see(noise(300, 130, 4)).at(-1)).toBeGreaterThan(99);
});

test("nothing but a release lets go: neither an excursion's rows nor its beginning without a way back", () => {
  const { gated, see, scale, level } = commissioned();
  see(new Array(8).fill(100 + 50 * scale));
  const before = level();
  for (let row = 0; row < 500; row++) {
    see([100 + 50 * scale]);
    gated.settle(row === 0 ? "began" : null, true);
  }
  expect(level()).toBe(before);
  gated.settle("released", false);
  expect(level()).toBe(100 + 50 * scale);
});

test("rows that nothing judges are normal: the level follows them through the gate, with its memory", () => {
  const { gated, see, scale, level } = commissioned();
  const far = 100 + 50 * scale;
  for (let row = 0; row < 20 * GATED.memoryRows; row++) {
    see([far]);
    gated.accept();
  }
  expect(level()).toBeCloseTo(far, 1);
});

test("where an excursion begins the level goes back to what it was so many rows before, and not past a release", () => {
  const { gated, see, scale, level } = commissioned({ rollBackRows: 10 });
  see(noise(50, 100, 2));
  // A creeping fault: within the gate, so that the level follows.
  const levels = see(Array.from({ length: 10 }, (_, row) => 100 + 0.3 * scale * row));
  gated.settle("began", true);
  expect(level()).toBe(levels[0]);
  see(new Array(20).fill(100 + 50 * scale));
  gated.settle("released", false);
  see([100 + 50 * scale]);
  gated.settle("began", true);
  expect(level()).toBe(100 + 50 * scale);
});

const RESTLESS = { upRows: 20, downRows: 100, atMost: 3 };

test("scales grow with restlessness up to their bound, faster than they shrink, and never below the commissioned", () => {
  const { gated, see, scale } = commissioned({ adaptation: RESTLESS });
  const run = (rows: number, amplitude: number, on = false) => {
    for (let row = 0; row < rows; row++) {
      see([100 + (Math.floor(row / 20) % 2 === 0 ? amplitude : -amplitude)]);
      gated.settle(null, on);
    }
    return Number(gated.scale[0]) / scale;
  };
  expect(run(200, 0)).toBe(1);
  const grown = run(60, 4 * scale);
  expect(grown).toBeGreaterThan(1.5);
  expect(run(400, 100 * scale)).toBeLessThanOrEqual(3);
  expect(run(400, 3 * scale, true)).toBe(Number(gated.scale[0]) / scale);
  const [early, late] = [run(20, 0), run(3000, 0)];
  expect(early).toBeGreaterThan(1.5);
  expect(late).toBe(1);
  expect(gated.commissionedScale[0]).toBe(scale);
});

test("an adapted scale is the rms of the mean's distance, which counts at most as the gate, with a memory of its own up and down", () => {
  const { gated, see, scale } = commissioned({ adaptation: { ...RESTLESS, atMost: 1000 } });
  const values = noise(300, 0, 6).map((value, row) => 100 + value * scale * (row % 90 < 30 ? 40 : 1));
  const last = noise(40, 100);
  let squares = scale ** 2;
  for (const [row, value] of values.entries()) {
    const before = Number(gated.scale[0]);
    see([value]);
    last.push(value);
    const on = row % 50 > 40;
    gated.settle(null, on);
    const distance = Math.min(
      Math.abs(mean(last.slice(-GATED.meanRows)) - Number(gated.level[0])),
      GATED.gate * before,
    );
    const { upRows, downRows } = RESTLESS;
    if (!on) squares += (distance ** 2 - squares) / (distance ** 2 > squares ? upRows : downRows);
    expect(Number(gated.scale[0]) / Math.max(scale, Math.sqrt(squares))).toBeCloseTo(1, 9);
  }
  expect(gated.scale[0]).toBeGreaterThan(1.5 * scale);
  expect(gated.commissionedScale[0]).toBe(scale);
});

test("without adaptation scales stay as commissioned, and while commissioning none adapts", () => {
  const { gated, see, scale } = commissioned();
  for (const value of noise(300, 100 + 3 * scale, 5)) {
    see([value]);
    gated.settle(null, false);
  }
  expect(gated.scale[0]).toBe(scale);
  const early = baseline({ adaptation: RESTLESS });
  early.see(noise(30, 100));
  const before = early.gated.scale[0];
  early.gated.settle(null, false);
  expect([early.gated.scale[0], early.gated.commissionedScale[0]]).toEqual([before, before]);
});

test("a snapshot of another reference, or for other channels, is refused", () => {
  const { gated } = baseline();
  const wider = new GatedBaseline(2, GATED);
  expect(() => gated.adopt(wider.snapshot())).toThrow(RangeError);
  expect(() => gated.adopt({ kind: "normaliser", frozen: false, values: new Float64Array(7) })).toThrow(RangeError);
});
