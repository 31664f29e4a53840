// One subscription of a mapping: which messages are its, and the readings each of them becomes.
import type { DeviceId } from "../../../learning/ids.ts";
import { type Reading, readTelemetry } from "../../../learning/telemetry/default-mapping.ts";
import { labelOf, type SensorMessage, show } from "../../../learning/telemetry/message.ts";
import { isRefusal, type Refusal, refusal } from "../../../learning/telemetry/refusal.ts";
import { type ChannelReader, compileChannel, compileFields, type Said } from "./channels.ts";
import { decoderOf } from "./decoders/decoder.ts";
import { deviceOfName } from "./device-name.ts";
import { allAt, type Found, hasEach, lastKey, type Path, parsePath, valueAt } from "./path.ts";
import { type LabelSettings, MappingError, type SubscriptionSettings } from "./settings.ts";
import { type CompiledText, type Context, compileText, singlePath, within } from "./text-source.ts";
import { timeReader } from "./time.ts";
import { parseTopic, type TopicPattern } from "./topic-pattern.ts";

/** What became of a message: readings, and whatever of it was not used. */
export interface Outcome {
  readonly readings: readonly Reading[];
  readonly refusals: readonly Refusal[];
}

export interface Subscription {
  readonly settings: SubscriptionSettings;
  readonly pattern: TopicPattern;
  /** The named segments of a topic whose messages are this subscription's; null: they are not. */
  match(topic: string): ReadonlyMap<string, string> | null;
  /** Never throws, whatever the bytes are. */
  read(message: SensorMessage, segments: ReadonlyMap<string, string>): Outcome;
}

const MAX_ELEMENTS = 1_000;

export const refused = (...refusals: Refusal[]): Outcome => ({ readings: [], refusals });

/** Throws MappingError for settings that don't fit together. `at`: where they stand in the file. */
export function compileSubscription(
  settings: SubscriptionSettings,
  at: readonly (string | number)[] = [],
): Subscription {
  const pattern = within([...at, "topic"], () => parseTopic(settings.topic));
  const except = settings.except.map((filter, index) => within([...at, "except", index], () => parseTopic(filter)));
  const read = compileRead(settings, pattern, at);
  return {
    settings,
    pattern,
    match: (topic) => (except.some((other) => other.match(topic) !== null) ? null : pattern.match(topic)),
    read: (message, segments) =>
      message.retained && settings.ignoreRetained
        ? refused(refusal("retained", "a retained message is of unknown age; ignoreRetained: false uses them"))
        : read(message, segments),
  };
}

function compileRead(
  settings: SubscriptionSettings,
  pattern: TopicPattern,
  at: readonly (string | number)[],
): Subscription["read"] {
  const { decode } = settings;
  if (decode.kind === "flead") {
    return (message) => {
      const reading = readTelemetry(message);
      return isRefusal(reading) ? refused(reading) : { readings: [reading], refusals: [] };
    };
  }
  if (decode.kind === "sparkplug") throw new MappingError([...at, "decode"], "sparkplug is not read");
  const decoder = within([...at, "decode"], () => decoderOf(decode));
  const each = settings.each === undefined ? null : within([...at, "each"], () => parsePath(settings.each ?? ""));
  if (each !== null && !hasEach(each))
    throw new MappingError([...at, "each"], "it must lead to many things, by * or [*] in it");
  const readElement = compileElement(settings, pattern, at);
  return (message, segments) => {
    const decoded = decoder(message.payload);
    if (isRefusal(decoded)) return refused(decoded);
    const { topic, receivedAtMs } = message;
    const top = decoded.body;
    const found: readonly Found[] = each === null ? [{ value: top, key: "" }] : allAt(each, top, MAX_ELEMENTS + 1);
    if (found.length === 0) return refused(refusal("wrong_shape", `nothing is at ${settings.each}`));
    const rows = new Rows(receivedAtMs);
    if (found.length > MAX_ELEMENTS)
      rows.refuse(refusal("too_large", `more than ${MAX_ELEMENTS} things are at ${settings.each}`));
    for (const { value: here, key } of found.slice(0, MAX_ELEMENTS))
      readElement({ topic, segments, top, here, key }, receivedAtMs, rows);
    return rows.outcome();
  };
}

type ElementReader = (context: Context, receivedAtMs: number, rows: Rows) => void;

function compileElement(
  settings: SubscriptionSettings,
  { names }: TopicPattern,
  at: readonly (string | number)[],
): ElementReader {
  if (settings.device === undefined)
    throw new MappingError([...at, "device"], "must be given, or a preset that has one");
  const device = compileText(settings.device, names, "the device", [...at, "device"]);
  const time = compileTime(settings, at);
  const label = settings.label === undefined ? null : compileLabel(settings.label, [...at, "label"]);
  const apart = new Set([device.path, time.path, label?.path].flatMap((path) => (path ? (lastKey(path) ?? []) : [])));
  const channels: ChannelReader[] = settings.channels.map((channel, index) =>
    compileChannel(channel, names, apart, [...at, "channels", index]),
  );
  if (settings.fields !== undefined) channels.push(compileFields(settings.fields, names, apart, [...at, "fields"]));
  if (channels.length === 0) throw new MappingError(at, "it needs channels, fields, or a preset that has them");
  return (context, receivedAtMs, rows) => {
    const deviceId = deviceIn(device, context);
    const atMs = time.read(context, receivedAtMs);
    if (isRefusalHere(deviceId)) rows.refuse(deviceId);
    else if (isRefusalHere(atMs)) rows.refuse(atMs);
    else {
      const row = rows.of(deviceId, atMs);
      for (const read of channels) read(context, row);
      if (label !== null) row.label(label.read(context));
    }
  };
}

const isRefusalHere = (given: DeviceId | number | Refusal): given is Refusal => typeof given === "object";

/** The device that a message is of. */
export function deviceIn(device: CompiledText, context: Context): DeviceId | Refusal {
  const name = device.read(context);
  return typeof name === "string" ? deviceOfName(name) : name;
}

function compileTime({ time }: SubscriptionSettings, at: readonly (string | number)[]) {
  if (time === undefined)
    return { path: null, read: (_: Context, receivedAtMs: number): number | Refusal => receivedAtMs };
  const path = singlePath(time.path, [...at, "time", "path"]);
  const read = within([...at, "time"], () => timeReader(time.format, time.zone));
  return {
    path,
    read: ({ top, here }: Context, receivedAtMs: number) => {
      const given = valueAt(path, top, here);
      return given === undefined || given === null ? receivedAtMs : read(given, time.path);
    },
  };
}

interface LabelReader {
  readonly path: Path;
  /** Null: nothing is said. */
  read(context: Pick<Context, "top" | "here">): 0 | 1 | null | Refusal;
}

/** Throws MappingError. */
export function compileLabel({ path: text, map }: LabelSettings, at: readonly (string | number)[]): LabelReader {
  const path = singlePath(text, [...at, "path"]);
  return {
    path,
    read: ({ top, here }) => {
      const given = valueAt(path, top, here);
      if (given === undefined || given === null) return null;
      const word = typeof given === "object" ? "" : String(given).trim();
      const label = map === undefined ? labelOf(given) : Object.hasOwn(map, word) ? (map[word] ?? null) : null;
      const allowed = map === undefined ? "0, 1, false and true" : Object.keys(map).join(", ");
      return label ?? refusal("bad_label", `label ${show(given)}; allowed is one of ${allowed}`);
    },
  };
}

/** The readings of one message: what it says of one device at one time is one of them. */
class Rows {
  readonly #receivedAtMs: number;
  readonly #rows = new Map<string, Row>();
  readonly #refusals: Refusal[] = [];

  constructor(receivedAtMs: number) {
    this.#receivedAtMs = receivedAtMs;
  }

  refuse(why: Refusal): void {
    this.#refusals.push(why);
  }

  of(deviceId: DeviceId, atMs: number): Row {
    const key = `${deviceId} ${atMs}`;
    const row = this.#rows.get(key) ?? new Row(deviceId, atMs, this.#refusals);
    this.#rows.set(key, row);
    return row;
  }

  outcome(): Outcome {
    const readings = [...this.#rows.values()].flatMap((row) => row.reading(this.#receivedAtMs) ?? []);
    if (readings.length === 0 && this.#refusals.length === 0)
      this.refuse(refusal("missing_channel", "the message has no value of any channel"));
    return { readings, refusals: this.#refusals };
  }
}

class Row implements Said {
  readonly values = new Map<string, number>();
  readonly units = new Map<string, string>();
  readonly refusals: Refusal[];
  readonly #deviceId: DeviceId;
  readonly #atMs: number;
  #label: 0 | 1 | null = null;
  #labelRefusal: Refusal | null = null;

  constructor(deviceId: DeviceId, atMs: number, refusals: Refusal[]) {
    this.#deviceId = deviceId;
    this.#atMs = atMs;
    this.refusals = refusals;
  }

  /** A label that can't be read, or differs from another, leaves a reading without one. */
  label(said: 0 | 1 | null | Refusal): void {
    if (said === null) return;
    if (typeof said === "object") this.#labelRefusal ??= said;
    else if (this.#label !== null && this.#label !== said)
      this.#labelRefusal ??= refusal("bad_label", "the message says two labels of one device and time");
    else this.#label = said;
  }

  reading(receivedAtMs: number): Reading | null {
    if (this.values.size === 0) return null;
    const { values, units } = this;
    const reading = { deviceId: this.#deviceId, atMs: this.#atMs, receivedAtMs, values, units };
    if (this.#labelRefusal === null) return { ...reading, label: this.#label };
    return { ...reading, label: null, labelRefusal: this.#labelRefusal };
  }
}
