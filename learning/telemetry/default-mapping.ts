// The built-in mapping from an MQTT message to a reading: three payload shapes, any malformed input a typed refusal.
import { isLabelColumn, isUnit } from "../channels.ts";
import type { DeviceId } from "../ids.ts";
import { deviceOf, isObject, type Json, labelOf, readBody, type SensorMessage, show, timeOf } from "./message.ts";
import { isRefusal, type Refusal, refusal } from "./refusal.ts";

/** What a device said at one time; values are unchecked until a row is made of them. */
export interface Reading {
  readonly deviceId: DeviceId;
  readonly atMs: number;
  readonly receivedAtMs: number;
  /** Without labels. */
  readonly values: ReadonlyMap<string, unknown>;
  readonly units: ReadonlyMap<string, string>;
  /** 1 = anomaly; null: not said, or not clearly. */
  readonly label: 0 | 1 | null;
  /** Why a label that was said is not used. */
  readonly labelRefusal?: Refusal;
}

/** Topic filters of the default mapping. */
export const telemetryTopics = (site: string) => [`flead/v1/${site}/+/telemetry`, "insa/devices/+/telemetry"];

/** Keys of a payload that are about the reading and not part of it. */
const ENVELOPE = new Set(["timestamp", "device_id"]);

/** Never throws, whatever the bytes are. */
export function readTelemetry(message: SensorMessage): Reading | Refusal {
  const id = deviceOf(message.topic, 2);
  if (typeof id !== "string") return id;
  const body = readBody(message);
  if (isRefusal(body)) return body;
  const { json } = body;
  if (json.device_id !== undefined && json.device_id !== id) {
    return refusal("wrong_shape", "device_id differs from the device in the topic");
  }
  const { receivedAtMs } = message;
  const atMs =
    json.timestamp === undefined || json.timestamp === null ? receivedAtMs : timeOf(json.timestamp, "timestamp");
  if (typeof atMs !== "number") return atMs;
  const said = valuesOf(json);
  return isRefusal(said) ? said : { deviceId: id, atMs, receivedAtMs, ...said };
}

type Said = Pick<Reading, "values" | "units" | "label" | "labelRefusal">;

function valuesOf(json: Json): Said | Refusal {
  const { telemetry, data } = json;
  const nested = telemetry ?? data;
  if (nested !== undefined && !isObject(nested)) {
    return refusal("wrong_shape", `${telemetry === undefined ? "data" : "telemetry"} must be an object of channels`);
  }
  const values = new Map<string, unknown>();
  const units = new Map<string, string>();
  const labels = nested === undefined ? [] : labelsIn(json);
  for (const [channel, given] of Object.entries(nested ?? json)) {
    if (nested === undefined && ENVELOPE.has(channel)) continue;
    const value = isObject(given) ? given.value : given;
    if (isLabelColumn(channel)) {
      labels.push(value);
      continue;
    }
    values.set(channel, value);
    if (isObject(given) && typeof given.unit === "string" && isUnit(given.unit)) units.set(channel, given.unit);
  }
  return values.size > 0
    ? { values, units, ...oneLabel(labels) }
    : refusal("wrong_shape", "the payload names no channel");
}

const labelsIn = (json: Json): unknown[] =>
  Object.entries(json).flatMap(([name, given]) => (isLabelColumn(name) ? [isObject(given) ? given.value : given] : []));

/** A reading whose label can't be read is a reading without one. */
function oneLabel(given: readonly unknown[]): Pick<Reading, "label" | "labelRefusal"> {
  const said = given.filter((label) => label !== null && label !== undefined);
  const [label = null, ...others] = said.map(labelOf);
  if (said.length === 0 || (label !== null && others.every((other) => other === label))) return { label };
  const detail = `label ${show(said.length === 1 ? said[0] : said)}; allowed is one of 0, 1, false and true`;
  return { label: null, labelRefusal: refusal("bad_label", `${detail}; the row counts as unlabelled`) };
}
