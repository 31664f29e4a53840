// Rows behind a device's last one: whether its clock was set back, or old rows were sent again.

/** Rows one after the other that were behind the device's last one, and in order among themselves. */
export interface Behind {
  readonly rows: number;
  readonly firstAtMs: number;
  /** By the gateway's clock. */
  readonly firstReceivedAtMs: number;
  readonly atMs: number;
  readonly receivedAtMs: number;
}

/** Fewer are no evidence: some rows are always late. */
const SET_BACK_ROWS = 20;
/**
 * Rows of a clock that was set back come at the pace at which their times go on. What a broker or a device sends again in
 * bulk comes faster, and teaches nothing: most of it was learned.
 */
const FASTEST_PACE = 1.25;

export function stepBehind(
  before: Behind | null,
  row: { readonly atMs: number; readonly receivedAtMs: number },
): Behind {
  const { atMs, receivedAtMs } = row;
  return before !== null && atMs >= before.atMs && receivedAtMs >= before.receivedAtMs
    ? { ...before, rows: before.rows + 1, atMs, receivedAtMs }
    : { rows: 1, firstAtMs: atMs, firstReceivedAtMs: receivedAtMs, atMs, receivedAtMs };
}

export const isSetBack = ({ rows, firstAtMs, firstReceivedAtMs, atMs, receivedAtMs }: Behind): boolean =>
  rows >= SET_BACK_ROWS && atMs - firstAtMs <= FASTEST_PACE * (receivedAtMs - firstReceivedAtMs);
