// The mean of a stream's last values.

/** Oldest first. */
export type TrailingValues = readonly number[];

/** `values` after one more, at most `rows` of them. */
export const pushTrailing = (values: TrailingValues, value: number, rows: number): TrailingValues =>
  [...values, value].slice(-rows);

export const meanOf = (values: TrailingValues): number => values.reduce((sum, value) => sum + value, 0) / values.length;
