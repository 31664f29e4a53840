// The values of one reading, by channel: named one by one, or every number below a place.
import { CHANNEL_NAME_RULE, isChannelName, isLabel, isUnit } from "../../../learning/channels.ts";
import { show } from "../../../learning/telemetry/message.ts";
import { type Refusal, refusal } from "../../../learning/telemetry/refusal.ts";
import { calibrate, numberOf } from "./calibrate.ts";
import { keysOf, valueAt } from "./path.ts";
import { type Calibration, type ChannelSettings, type FieldsSettings, MappingError } from "./settings.ts";
import { type Context, compileText, singlePath } from "./text-source.ts";

/** What one element of a message says. */
export interface Said {
  readonly values: Map<string, number>;
  readonly units: Map<string, string>;
  readonly refusals: Refusal[];
}

/** Adds what it reads to `said`. */
export type ChannelReader = (context: Context, said: Said) => void;

const MAX_CHANNELS = 256;
const MAX_DEPTH = 8;

/** `apart`: keys of what is not measured, label, time and device; nothing at or below them is a channel. Throws MappingError. */
export function compileChannel(
  settings: ChannelSettings,
  names: readonly string[],
  apart: ReadonlySet<string>,
  at: readonly (string | number)[],
): ChannelReader {
  const name = compileText(settings.name, names, "the channel's name", [...at, "name"]);
  const fault = name.constant === null ? null : nameFault(name.constant);
  if (fault !== null) throw new MappingError([...at, "name"], fault);
  const path = singlePath(settings.path ?? "", [...at, "path"]);
  const notMeasured = keysOf(path).find((key) => apart.has(key) || isLabel(key));
  if (notMeasured !== undefined)
    throw new MappingError(
      [...at, "path"],
      `${show(notMeasured)} is a label, the time or the device; it is no channel`,
    );
  return (context, said) => {
    const channel = name.read(context);
    if (typeof channel !== "string") said.refusals.push(channel);
    else take(channel, valueAt(path, context.top, context.here), settings, said);
  };
}

/** Throws MappingError. */
export function compileFields(
  settings: FieldsSettings,
  names: readonly string[],
  apart: ReadonlySet<string>,
  at: readonly (string | number)[],
): ChannelReader {
  const under = singlePath(settings.under ?? "", [...at, "under"]);
  const prefix =
    settings.prefix === undefined ? null : compileText(settings.prefix, names, "the prefix", [...at, "prefix"]);
  const only = settings.only === undefined ? null : new Set(settings.only);
  const except = new Set(settings.except);
  const plain: Calibration = { scale: 1, offset: 0, sentinels: [], ...(settings.map && { map: settings.map }) };
  return (context, said) => {
    const first = prefix?.read(context) ?? "";
    if (typeof first !== "string") {
      said.refusals.push(first);
      return;
    }
    for (const { name, value } of leavesOf(valueAt(under, context.top, context.here), apart)) {
      if (except.has(name) || (only !== null && !only.has(name))) continue;
      const calibration = Object.hasOwn(settings.calibrate, name) ? settings.calibrate[name] : undefined;
      // A text that is not said to be a number is information, not a measurement.
      if (calibration === undefined && typeof value !== "number" && !hasNumber(value, settings.map)) continue;
      take(first === "" ? name : `${first}.${name}`, value, calibration ?? plain, said);
    }
  };
}

const hasNumber = (value: unknown, map: Readonly<Record<string, number>> | undefined): boolean =>
  map !== undefined && Object.hasOwn(map, String(value)) && numberOf(value, map) !== null;

function take(channel: string, given: unknown, settings: Calibration, said: Said): void {
  const fault = nameFault(channel);
  if (fault !== null) {
    said.refusals.push(refusal("invalid_channel", fault));
    return;
  }
  const value = calibrate(given, channel, settings);
  if (value === null) return;
  if (typeof value !== "number") said.refusals.push(value);
  else if (said.values.size >= MAX_CHANNELS && !said.values.has(channel))
    said.refusals.push(refusal("too_large", `a reading has more than ${MAX_CHANNELS} channels`));
  else {
    said.values.set(channel, value);
    if (settings.unit !== undefined && isUnit(settings.unit)) said.units.set(channel, settings.unit);
  }
}

function nameFault(name: string): string | null {
  if (!isChannelName(name)) return `channel ${show(name)} ${CHANNEL_NAME_RULE}`;
  return isLabel(name) ? `${show(name)} is what a label is called; it is no channel` : null;
}

interface Leaf {
  /** Keys from the top of the fields, with dots. */
  readonly name: string;
  readonly value: unknown;
}

/** A label may be said as an object or a list: what is below its key is part of it. */
function* leavesOf(value: unknown, apart: ReadonlySet<string>, name = "", depth = 0): Generator<Leaf> {
  if (typeof value !== "object" || value === null || depth > MAX_DEPTH) return;
  for (const [key, inner] of Object.entries(value)) {
    if (apart.has(key) || isLabel(key)) continue;
    const full = name === "" ? key : `${name}.${key}`;
    if (typeof inner === "object" && inner !== null) yield* leavesOf(inner, apart, full, depth + 1);
    else yield { name: full, value: inner };
  }
}
