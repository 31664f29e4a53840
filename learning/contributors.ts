// Which channels a score is about.

/**
 * Each channel's share of the summed residual, length `channelCount`, sum 1; all zero where there is no residual.
 * `residual` (length R) holds squared residuals as the score graph outputs them; column r speaks of channel
 * `residualChannels[r]`. Throws RangeError when the lengths differ.
 */
export function contributors(
  residual: Float32Array,
  residualChannels: readonly number[],
  channelCount: number,
): number[] {
  if (residual.length !== residualChannels.length) {
    throw new RangeError(`${residual.length} residuals for ${residualChannels.length} columns`);
  }
  const shares = new Array<number>(channelCount).fill(0);
  residualChannels.forEach((channel, column) => {
    shares[channel] = (shares[channel] ?? 0) + (residual[column] ?? 0);
  });
  const total = shares.reduce((sum, share) => sum + share, 0);
  return total > 0 && Number.isFinite(total) ? shares.map((share) => share / total) : shares.fill(0);
}
