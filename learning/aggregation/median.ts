// The median without sorting: a round takes one of thousands of values for each of thousands of coordinates.

/** Narrowings of the range, beyond twice as many as halving it takes: what makes it narrow more slowly was made to. */
const SPARE_NARROWINGS = 8;

/** The median of `values` (finite, not empty), which are reordered; of an even number, the mean of the middle two. */
export function median(values: Float32Array): number {
  const upper = values.length >> 1;
  select(values, upper);
  const middle = Number(values[upper]);
  if (values.length % 2 === 1) return middle + 0; // −0 is 0, whatever the order given
  let below = Number.NEGATIVE_INFINITY;
  for (let i = 0; i < upper; i++) below = Math.max(below, Number(values[i]));
  return (below + middle) / 2 + 0;
}

/** Puts at `k` what stands there when sorted, nothing larger before and nothing smaller behind. Hoare 1961, Algorithm 65. */
function select(values: Float32Array, k: number): void {
  let [left, right] = [0, values.length - 1];
  let narrowings = 2 * Math.ceil(Math.log2(values.length)) + SPARE_NARROWINGS;
  while (left < right) {
    if (narrowings-- === 0) {
      values.subarray(left, right + 1).sort();
      return;
    }
    const pivot = middleOf(Number(values[left]), Number(values[(left + right) >> 1]), Number(values[right]));
    let [i, j] = [left, right];
    while (i <= j) {
      while (Number(values[i]) < pivot) i++;
      while (Number(values[j]) > pivot) j--;
      if (i > j) break;
      const value = Number(values[i]);
      values[i++] = Number(values[j]);
      values[j--] = value;
    }
    if (k <= j) right = j;
    else if (k >= i) left = i;
    else return;
  }
}

const middleOf = (a: number, b: number, c: number) => Math.max(Math.min(a, b), Math.min(Math.max(a, b), c));
