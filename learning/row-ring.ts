// The last rows of something, in one typed array that never grows.

export interface RingSnapshot<Values extends Float32Array | Float64Array> {
  /** The filled part, in storage order. */
  readonly values: Values;
  readonly next: number;
}

/** Takes a copy of `given` into `own`; throws RangeError when it does not have the length it must have. */
export function copyInto(own: Float64Array, given: Float64Array): void {
  if (own.length !== given.length) throw new RangeError(`a snapshot has ${given.length} values for ${own.length}`);
  own.set(given);
}

/** At most `capacity` rows of `columns` values, oldest out first; nothing is allocated after construction. */
export class RowRing<Values extends Float32Array | Float64Array> {
  /** Row-major, `capacity` × `columns`; rows beyond `count` are zero. */
  readonly values: Values;
  readonly columns: number;
  readonly capacity: number;
  #count = 0;
  #next = 0;

  /** `storage` has room for a whole number of rows, at least one. */
  constructor(storage: Values, columns: number) {
    this.values = storage;
    this.columns = columns;
    this.capacity = storage.length / columns;
    if (!(Number.isInteger(this.capacity) && this.capacity > 0)) {
      throw new RangeError(`${storage.length} values are not whole rows of ${columns}`);
    }
  }

  get count(): number {
    return this.#count;
  }

  /** Where the next row goes: the oldest row's place once the ring is full. */
  get nextOffset(): number {
    return this.#next * this.columns;
  }

  /** Offset in `values` of the row that entered `age` rows ago, 0 = the newest; age < count. */
  offset(age: number): number {
    return ((this.#next - 1 - age + this.capacity) % this.capacity) * this.columns;
  }

  enter(row: Values): void {
    this.values.set(row, this.nextOffset);
    this.#next = (this.#next + 1) % this.capacity;
    if (this.#count < this.capacity) this.#count++;
  }

  /** The row held longest; count > 0. */
  oldest(): Values {
    const at = this.offset(this.#count - 1);
    return this.values.subarray(at, at + this.columns) as Values;
  }

  /** Gives all the rows held this value in one column. */
  fill(column: number, value: number): void {
    for (let age = 0; age < this.#count; age++) this.values[this.offset(age) + column] = value;
  }

  /** The last `newest` ≤ count rows, oldest first. */
  *rows(newest: number): Generator<Values> {
    for (let age = newest - 1; age >= 0; age--) {
      const at = this.offset(age);
      yield this.values.subarray(at, at + this.columns) as Values;
    }
  }

  snapshot(): RingSnapshot<Values> {
    return { values: this.values.slice(0, this.#count * this.columns) as Values, next: this.#next };
  }

  /** Takes over the state of an equally shaped ring. Throws RangeError for any other. */
  adopt({ values, next }: RingSnapshot<Values>): void {
    const count = values.length / this.columns;
    const fits = Number.isInteger(count) && (count === this.capacity ? next < count : next === count);
    if (!fits || count > this.capacity || next < 0) throw new RangeError("the snapshot is of another ring");
    this.values.fill(0).set(values);
    this.#count = count;
    this.#next = next;
  }
}
