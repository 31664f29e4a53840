// How many updates one round reads.
import type { RoundSettings } from "../../learning/plan.ts";

const MAX_UPDATES_A_ROUND = 1000;
const MAX_DELTA_BYTES_A_ROUND = 16 * 1024 * 1024;

/** As many decoded deltas of float32 as are bounded in memory, and at least as many as the round closes at. */
export function roundCapacity(settings: RoundSettings, parameters: number): number {
  const fitting = Math.floor(MAX_DELTA_BYTES_A_ROUND / (4 * parameters));
  const wanted = settings.mode === "buffered" ? settings.updates : settings.gateways;
  return Math.max(wanted, Math.min(fitting, MAX_UPDATES_A_ROUND));
}
