// How the rows of a training are divided into steps.

/** Contiguous [from, to) ranges over `rows`, as few as `batchRows` allows and of sizes that differ by at most one. */
export function batches(rows: number, batchRows: number): { readonly from: number; readonly to: number }[] {
  const count = Math.ceil(rows / batchRows);
  return Array.from({ length: count }, (_, index) => ({
    from: Math.floor((index * rows) / count),
    to: Math.floor(((index + 1) * rows) / count),
  }));
}
