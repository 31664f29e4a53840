// What goes wrong between a delta and its bytes.

/** Bytes that are no delta of this layout in this codec; the message says why. */
export class UndecodableDeltaError extends Error {
  constructor(message: string) {
    super(message);
    this.name = "UndecodableDeltaError";
  }
}

/** A delta, or a residual kept for it, that no codec can carry: another length, or values beyond float32. */
export class UnencodableDeltaError extends Error {
  constructor(message: string) {
    super(message);
    this.name = "UnencodableDeltaError";
  }
}
