// The coordinator's word on how fast to learn, kept within the bounds the design gives.

const LOWEST = 0.1;
const HIGHEST = 4;

/** A factor of the plan's learning rate within [0.1, 4]; null when none was said or it is not a number. */
export function boundedFactor(given: number | null): number | null {
  return given === null || Number.isNaN(given) ? null : Math.min(HIGHEST, Math.max(LOWEST, given));
}
