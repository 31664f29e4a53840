// The built-in mapping from an MQTT message to a reading: three payload shapes, any malformed input a typed refusal.
import { isUnit } from "../../learning/channels.ts";
import { type DeviceId, deviceId } from "../../learning/ids.ts";
import { isRefusal, type Refusal, refusal } from "./refusal.ts";

export interface SensorMessage {
  readonly topic: string;
  readonly payload: Uint8Array;
  /** The broker kept it from before the subscription: its age is unknown. */
  readonly retained: boolean;
  readonly receivedAtMs: number;
}

/** What a device said at one time; values are unchecked until a row is made of them. */
export interface Reading {
  readonly deviceId: DeviceId;
  readonly atMs: number;
  readonly receivedAtMs: number;
  readonly values: ReadonlyMap<string, unknown>;
  readonly units: ReadonlyMap<string, string>;
}

export const MAX_PAYLOAD_BYTES = 65_536;

/** Topic filters of the default mapping. */
export const telemetryTopics = (site: string) => [`flead/v1/${site}/+/telemetry`, "insa/devices/+/telemetry"];

/** Keys of a payload that are about the reading and not part of it. */
const ENVELOPE = new Set(["timestamp", "device_id"]);
/** Numbers below are seconds (until the year 5138), others milliseconds (from 1973 on). */
const SECONDS_BELOW = 1e11;
const LATEST_MS = 8.64e15;
const ISO_TIME = /^(\d{4}-\d\d-\d\d)(?:[T ](\d\d:\d\d(?::\d\d(?:[.,]\d{1,9})?)?)\s?(Z|[+-]\d\d:?\d\d)?)?$/;

/** Never throws, whatever the bytes are. */
export function readTelemetry(message: SensorMessage): Reading | Refusal {
  if (message.retained)
    return refusal("retained", "a retained message is of unknown age; publish without the retain flag");
  const id = deviceOf(message.topic);
  if (typeof id !== "string") return id;
  if (message.payload.byteLength > MAX_PAYLOAD_BYTES) {
    return refusal("too_large", `${message.payload.byteLength} bytes; at most ${MAX_PAYLOAD_BYTES} are read`);
  }
  const body = parseObject(message.payload);
  if (isRefusal(body)) return body;
  if (body.json.device_id !== undefined && body.json.device_id !== id) {
    return refusal("wrong_shape", "device_id differs from the device in the topic");
  }
  const atMs = timeOf(body.json.timestamp, message.receivedAtMs);
  if (typeof atMs !== "number") return atMs;
  const values = valuesOf(body.json);
  if (isRefusal(values)) return values;
  return { deviceId: id, atMs, receivedAtMs: message.receivedAtMs, ...values };
}

/** Every accepted topic has the device before its last level. */
function deviceOf(topic: string): DeviceId | Refusal {
  try {
    return deviceId(topic.split("/").at(-2) ?? "");
  } catch (error) {
    return refusal("invalid_device_id", (error as Error).message);
  }
}

function parseObject(payload: Uint8Array): { readonly json: Readonly<Record<string, unknown>> } | Refusal {
  let json: unknown;
  try {
    json = JSON.parse(new TextDecoder("utf-8", { fatal: true }).decode(payload));
  } catch (error) {
    return refusal("malformed_json", `${(error as Error).message}; the payload must be JSON in UTF-8`);
  }
  return isObject(json) ? { json } : refusal("wrong_shape", "the payload must be a JSON object");
}

function timeOf(given: unknown, receivedAtMs: number): number | Refusal {
  if (given === undefined || given === null) return receivedAtMs;
  const atMs = typeof given === "number" ? epochMs(given) : typeof given === "string" ? isoMs(given) : Number.NaN;
  if (atMs >= 0 && atMs <= LATEST_MS) return atMs;
  return refusal("wrong_shape", `timestamp ${show(given)} is neither ISO 8601 nor seconds or milliseconds since 1970`);
}

const epochMs = (given: number) => Math.round(given < SECONDS_BELOW ? given * 1000 : given);

/** A time without a zone is UTC, so that a reading means the same on every gateway. */
function isoMs(given: string): number {
  const [, date, time = "00:00", zone = "Z"] = ISO_TIME.exec(given.trim()) ?? [];
  return date === undefined ? Number.NaN : Date.parse(`${date}T${time.replace(",", ".")}${zone}`);
}

function valuesOf(json: Readonly<Record<string, unknown>>): Pick<Reading, "values" | "units"> | Refusal {
  const { telemetry, data } = json;
  const nested = telemetry ?? data;
  if (nested !== undefined && !isObject(nested)) {
    return refusal("wrong_shape", `${telemetry === undefined ? "data" : "telemetry"} must be an object of channels`);
  }
  const values = new Map<string, unknown>();
  const units = new Map<string, string>();
  for (const [channel, given] of Object.entries(nested ?? json)) {
    if (nested === undefined && ENVELOPE.has(channel)) continue;
    values.set(channel, isObject(given) ? given.value : given);
    if (isObject(given) && typeof given.unit === "string" && isUnit(given.unit)) units.set(channel, given.unit);
  }
  return values.size > 0 ? { values, units } : refusal("wrong_shape", "the payload names no channel");
}

const isObject = (value: unknown): value is Record<string, unknown> =>
  typeof value === "object" && value !== null && !Array.isArray(value);

const show = (value: unknown) => (JSON.stringify(value) ?? String(value)).slice(0, 60);
