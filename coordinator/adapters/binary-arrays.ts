// One-dimensional arrays as PostgreSQL receives them in binary (array_recv), written into memory that is used again: pg
// would make text of each array, bytes as hexadecimal, in new memory for every statement.

export interface ElementType<Value> {
  /** Of pg_type. */
  readonly oid: number;
  byteLength(value: Value): number;
  /** Writes the value's bytes at `at`. */
  write(into: Buffer, value: Value, at: number): void;
}

export const TEXT: ElementType<string> = {
  oid: 25,
  byteLength: (value) => Buffer.byteLength(value),
  write: (into, value, at) => into.write(value, at),
};

export const INT8: ElementType<number> = {
  oid: 20,
  byteLength: () => 8,
  write: (into, value, at) => into.writeBigInt64BE(BigInt(value), at),
};

export const FLOAT8: ElementType<number> = {
  oid: 701,
  byteLength: () => 8,
  write: (into, value, at) => into.writeDoubleBE(value, at),
};

export const BYTEA: ElementType<Uint8Array> = {
  oid: 17,
  byteLength: (value) => value.byteLength,
  write: (into, value, at) => into.set(value, at),
};

const HEAD_BYTES = 20;

/** The arrays of one statement; they are good until `clear`. */
export class BinaryArrays {
  #memory: Buffer;
  #used = 0;

  /** `keptBytes`: of memory that is kept for the next statement; one that takes more pays for its own. */
  constructor(keptBytes: number) {
    this.#memory = Buffer.allocUnsafeSlow(keptBytes);
  }

  /**
   * int32 dimensions, whether there are nulls, element type, length, lower bound; then of each element its int32 length
   * (null: -1) and bytes.
   */
  add<Value>(type: ElementType<Value>, values: readonly (Value | null)[]): Buffer {
    const sizes = values.map((value) => (value === null ? -1 : type.byteLength(value)));
    const array = this.#take(sizes.reduce((sum, size) => sum + 4 + Math.max(0, size), HEAD_BYTES));
    let at = 0;
    const put = (number: number) => {
      at = array.writeInt32BE(number, at);
    };
    for (const number of [1, sizes.includes(-1) ? 1 : 0, type.oid, values.length, 1]) put(number);
    values.forEach((value, index) => {
      const size = sizes[index] ?? -1;
      put(size);
      if (value === null) return;
      type.write(array, value, at);
      at += size;
    });
    return array;
  }

  clear(): void {
    this.#used = 0;
  }

  #take(bytes: number): Buffer {
    if (this.#used + bytes > this.#memory.byteLength) return Buffer.allocUnsafeSlow(bytes);
    const taken = this.#memory.subarray(this.#used, this.#used + bytes);
    this.#used += bytes;
    return taken;
  }
}
