import { expect, test } from "vitest";
import { StreamingNormaliser } from "../../learning/normaliser.ts";
import { seededRandom } from "../../learning/random.ts";
import { RollingStatistics } from "../../learning/rolling.ts";

const ONE = Uint8Array.of(1);

function exact(values: number[]): { mean: number; std: number } {
  const mean =
    values.reduce((sum, value) => sum + (value - (values[0] as number)), 0) / values.length + (values[0] as number);
  return { mean, std: Math.sqrt(values.reduce((sum, value) => sum + (value - mean) ** 2, 0) / values.length) };
}

/** Enters `values` into one channel and compares with the statistics of the last `rows` values after each. */
function follows(values: number[], rows: number): void {
  const rolling = new RollingStatistics(1, rows);
  values.forEach((value, i) => {
    rolling.enter(Float64Array.of(value));
    const { mean, std } = exact(values.slice(Math.max(0, i + 1 - rows), i + 1));
    expect(Math.abs(rolling.mean(0) - mean)).toBeLessThanOrEqual(1e-9 * Math.abs(mean) + 1e-6 * std + 1e-12);
    expect(Math.abs(rolling.std(0) - std)).toBeLessThanOrEqual(1e-5 * std + 1e-9);
  });
}

const noise = (seed: number, length: number, level: number, spread: number) => {
  const random = seededRandom(seed);
  return Array.from({ length }, () => level + spread * random.normal());
};

test("rolling statistics are those of the last rows, from the first row on", () => follows(noise(1, 1000, 5, 2), 100));

test("a large offset does not eat the deviation", () => follows(noise(2, 1000, 1e9, 1), 100));

test("an extreme value leaves no trace once it has left", () => {
  const values = noise(3, 400, 0, 1);
  values[150] = 1e12;
  follows(values, 60);
});

test("a step of level leaves no trace once the old level has left", () => {
  follows([...noise(4, 170, 0, 1), ...noise(5, 230, 1e9, 1)], 60);
});

test("a constant channel has exactly no deviation, also after it was disturbed", () => {
  const rolling = new RollingStatistics(1, 10);
  for (const value of [0.1, 0.1, 7e11, ...new Array(15).fill(0.1)]) rolling.enter(Float64Array.of(value));
  expect(rolling.mean(0)).toBe(0.1);
  expect(rolling.std(0)).toBe(0);
});

test("a million rows do not make the mean drift", () => {
  const values = noise(8, 1000, 0, 1);
  const rolling = new RollingStatistics(1, 10);
  for (let i = 0; i < 1_000_000; i++) rolling.enter(Float64Array.of(values[i % 1000] as number));
  expect(Math.abs(rolling.mean(0) - exact(values.slice(-10)).mean)).toBeLessThan(1e-15);
});

test("channels do not mix", () => {
  const rolling = new RollingStatistics(2, 3);
  for (let i = 0; i < 7; i++) rolling.enter(Float64Array.of(i, 100));
  expect([rolling.mean(0), rolling.mean(1), rolling.std(1), rolling.count]).toEqual([5, 100, 0, 3]);
});

test("a channel that is filled had that value in all the rows held, and leaves the others alone", () => {
  const rolling = new RollingStatistics(2, 5);
  rolling.fill(0, 9);
  for (const value of noise(9, 12, 1e6, 3)) rolling.enter(Float64Array.of(value, value));
  const [mean, std] = [rolling.mean(1), rolling.std(1)];
  rolling.fill(0, 7);
  expect([rolling.mean(0), rolling.std(0), rolling.mean(1), rolling.std(1)]).toEqual([7, 0, mean, std]);
  rolling.enter(Float64Array.of(12, 0));
  expect([rolling.mean(0), rolling.std(0)]).toEqual([8, 2]);
});

test("the streaming normaliser has the mean and deviation of its rows while they fit its memory", () => {
  const values = noise(6, 300, 1e9, 3);
  const normaliser = new StreamingNormaliser(1, 1000);
  for (const value of values) normaliser.learn(Float64Array.of(value), ONE);
  expect([normaliser.level[0], normaliser.scale[0], normaliser.settled]).toEqual([0, Number.POSITIVE_INFINITY, false]);
  normaliser.freeze();
  const { mean, std } = exact(values);
  expect(normaliser.level[0]).toBeCloseTo(mean, 5);
  // Floored at a millionth of the mean, which is larger here.
  expect(normaliser.scale[0]).toBeCloseTo(Math.max(std, 1e-6 * mean), 5);
});

test("beyond its memory the normaliser forgets exponentially", () => {
  const normaliser = new StreamingNormaliser(1, 50);
  for (let i = 0; i < 50; i++) normaliser.learn(Float64Array.of(i % 2 === 0 ? -1 : 1), ONE);
  for (let i = 0; i < 50; i++) normaliser.learn(Float64Array.of(3), ONE);
  normaliser.freeze();
  const left = (1 - 1 / 50) ** 50;
  expect(normaliser.level[0]).toBeCloseTo(3 * (1 - left), 9);
  expect(normaliser.scale[0]).toBeCloseTo(Math.sqrt(left + 9 * left * (1 - left)), 9);
});

test("learned rows change nothing in force until the freeze, and one wild reading little even then", () => {
  const normaliser = new StreamingNormaliser(1, 200);
  for (const value of noise(7, 200, 10, 1)) normaliser.learn(Float64Array.of(value), ONE);
  normaliser.freeze();
  const [mean, sigma] = [normaliser.level[0] as number, normaliser.scale[0] as number];
  normaliser.learn(Float64Array.of(1e12), ONE);
  expect([normaliser.level[0], normaliser.scale[0]]).toEqual([mean, sigma]);
  normaliser.freeze();
  expect(normaliser.level[0]).toBeLessThan(mean + 0.1 * sigma);
  expect(normaliser.scale[0]).toBeLessThan(1.3 * sigma);
});

test("σ has a floor in proportion to the mean, and one of its own at zero", () => {
  const normaliser = new StreamingNormaliser(2, 10);
  for (let i = 0; i < 10; i++) normaliser.learn(Float64Array.of(-5e8, 0), Uint8Array.of(1, 1));
  normaliser.freeze();
  expect([...normaliser.scale]).toEqual([500, 1e-12]);
});
