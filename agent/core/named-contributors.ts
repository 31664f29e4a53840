// Which channels an alert names, and how far each channel is from what is expected of it.
import type { Channel } from "../../learning/plan.ts";
import type { Contributor } from "./episode.ts";

const SHOWN_CONTRIBUTORS = 5;

/** Lowest and highest that is expected of a channel. */
export type Expected = (channel: number) => readonly [number, number];

/** The channels with the largest shares; `row`: their values. */
export function namedContributors(
  shares: readonly number[],
  row: Float64Array,
  channels: readonly Channel[],
  expected: Expected,
): Contributor[] {
  if (shares.length === 0) return [];
  return shares
    .map((share, channel) => ({ share, channel }))
    .filter(({ share }) => share > 0)
    .sort((a, b) => b.share - a.share)
    .slice(0, SHOWN_CONTRIBUTORS)
    .map(({ share, channel }) => ({
      channel: channels[channel]?.name ?? "",
      share,
      value: row[channel] ?? 0,
      expected: expected(channel),
      unit: channels[channel]?.unit ?? "",
    }));
}

/** Distances from the middle of what is expected, which is ± 3 standard deviations wide; NaN where nothing varies. */
export function deviations(row: Float64Array, expected: Expected): Float64Array {
  const z = new Float64Array(row.length);
  for (let c = 0; c < row.length; c++) {
    const [low, high] = expected(c);
    z[c] = high > low ? (Number(row[c]) - (low + high) / 2) / ((high - low) / 6) : Number.NaN;
  }
  return z;
}

/** Shares of the squares; taken of the largest, so that no square overflows. */
export function sharesOf(z: Float32Array | Float64Array): number[] {
  let largest = 0;
  for (const value of z) largest = Math.max(largest, Math.abs(value));
  const squares = Array.from(z, (value) => (largest > 0 ? (value / largest) ** 2 : 0));
  const total = squares.reduce((sum, square) => sum + square, 0);
  return total > 0 ? squares.map((square) => square / total) : squares;
}
