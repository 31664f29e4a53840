// What became of a message: readings, what was not used of it, and what it said beside.
import type { DeviceId } from "../../../learning/ids.ts";
import type { Reading } from "../../../learning/telemetry/default-mapping.ts";
import type { Refusal } from "../../../learning/telemetry/refusal.ts";

/** What a message says of devices that is no measurement. */
export type Word =
  | { readonly kind: "availability"; readonly deviceId: DeviceId; readonly online: boolean }
  /** What is true of the device from now on. */
  | { readonly kind: "label"; readonly deviceId: DeviceId; readonly label: 0 | 1 };

/** To be published at a broker, once and not retained. */
export interface SiteCommand {
  readonly broker: string;
  readonly topic: string;
  readonly payload: Uint8Array;
}

export interface Outcome {
  readonly readings: readonly Reading[];
  readonly refusals: readonly Refusal[];
  readonly words: readonly Word[];
  readonly commands: readonly SiteCommand[];
  /** How often the readings' devices are expected to speak; null: not said. */
  readonly rhythm: Rhythm | null;
}

export interface Rhythm {
  readonly staleAfterMs: number;
  /** The readings have some of a device's channels and are aligned to rows so far apart; null: they are rows. */
  readonly rowEveryMs: number | null;
}

const NOTHING: Outcome = { readings: [], refusals: [], words: [], commands: [], rhythm: null };

export const outcome = (parts: Partial<Outcome>): Outcome => ({ ...NOTHING, ...parts });
export const refused = (...refusals: Refusal[]): Outcome => outcome({ refusals });
