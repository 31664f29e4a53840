// From what a message says to what was measured: numbers for texts, sentinels, scale, offset, valid range.
import { show } from "../../../learning/telemetry/message.ts";
import { type Refusal, refusal } from "../../../learning/telemetry/refusal.ts";
import type { Calibration } from "./settings.ts";

const DECIMAL = /^[+-]?(\d{1,30}(\.\d{0,30})?|\.\d{1,30})([eE][+-]?\d{1,3})?$/;

/** Null: there is no value. A text of a number is one. */
export function calibrate(given: unknown, name: string, settings: Calibration): number | null | Refusal {
  if (given === null || given === undefined || isSentinel(given, settings.sentinels)) return null;
  const said = numberOf(given, settings.map);
  if (said === null) {
    const allowed = settings.map === undefined ? "" : `, or one of ${Object.keys(settings.map).join(", ")}`;
    return refusal("bad_value", `channel ${name} is ${show(given)}; allowed is a finite number${allowed}`);
  }
  if (settings.sentinels.includes(said)) return null;
  const value = said * settings.scale + settings.offset;
  if (!Number.isFinite(value)) return refusal("bad_value", `channel ${name} is ${show(given)}, which is not finite`);
  const [low, high] = settings.range ?? [Number.NEGATIVE_INFINITY, Number.POSITIVE_INFINITY];
  return value >= low && value <= high
    ? value
    : refusal("out_of_range", `channel ${name} is ${value}; its valid range is ${low} to ${high}`);
}

/** Of a finite number, a text of one, or what `map` has a number for; null: of none of these. */
export function numberOf(given: unknown, map: Readonly<Record<string, number>> | undefined): number | null {
  if (typeof given === "number") return Number.isFinite(given) ? given : null;
  if (typeof given !== "string" && typeof given !== "boolean") return null;
  const text = String(given).trim();
  if (map !== undefined && Object.hasOwn(map, text)) return map[text] ?? null;
  return typeof given === "string" ? decimal(text) : null;
}

/** Of a text; null: it is no finite decimal number. */
export function decimal(text: string): number | null {
  const value = DECIMAL.test(text) ? Number(text) : Number.NaN;
  return Number.isFinite(value) ? value : null;
}

const isSentinel = (given: unknown, sentinels: readonly (number | string)[]): boolean =>
  (typeof given === "string" && sentinels.includes(given.trim())) ||
  (typeof given === "number" && sentinels.includes(given));
