// Readings as a device gives them, made fit to compute with.

/** Readings beyond this are taken as this, so that their squares stay finite, and their distances in float32 too. */
const LARGEST_READING = 1e30;

/**
 * Copies `row` into `own` within ±1e30. Throws RangeError, changing nothing, for another length or a value that is not
 * finite; NaN, a missing one, is taken where `mayLack`.
 */
export function takeReadings(own: Float64Array, row: Float64Array, mayLack: boolean): void {
  if (row.length !== own.length) throw new RangeError(`a row of ${row.length} values for ${own.length} channels`);
  for (const value of row) {
    if (!(Number.isFinite(value) || (mayLack && Number.isNaN(value))))
      throw new RangeError("a row has a value that is not finite");
  }
  for (let c = 0; c < own.length; c++) {
    // + 0 makes -0 a plain 0, so that equal readings are equal bits.
    own[c] = Math.max(-LARGEST_READING, Math.min(LARGEST_READING, Number(row[c]))) + 0;
  }
}
