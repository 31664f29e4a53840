// What every message to the agent has to be: fresh, of a bounded size, a JSON object, about a device.
import { type DeviceId, deviceId } from "../ids.ts";
import { type Refusal, refusal } from "./refusal.ts";

export interface SensorMessage {
  readonly topic: string;
  readonly payload: Uint8Array;
  /** The broker kept it from before the subscription: its age is unknown. */
  readonly retained: boolean;
  readonly receivedAtMs: number;
}

export type Json = Readonly<Record<string, unknown>>;

export const MAX_PAYLOAD_BYTES = 65_536;

/** Numbers below are seconds (until the year 5138), others milliseconds (from 1973 on). */
const SECONDS_BELOW = 1e11;
const LATEST_MS = 8.64e15;
/** One for all payloads: between calls it keeps nothing. */
const UTF8 = new TextDecoder("utf-8", { fatal: true });
const ISO_TIME = /^(\d{4}-\d\d-\d\d)(?:[T ](\d\d:\d\d(?::\d\d(?:[.,]\d{1,9})?)?)\s?(Z|[+-]\d\d:?\d\d)?)?$/;

/** The object that a message is; never throws, whatever the bytes are. */
export function readBody({ payload, retained }: SensorMessage): { readonly json: Json } | Refusal {
  if (retained) return refusal("retained", "a retained message is of unknown age; publish without the retain flag");
  if (payload.byteLength > MAX_PAYLOAD_BYTES) {
    return refusal("too_large", `${payload.byteLength} bytes; at most ${MAX_PAYLOAD_BYTES} are read`);
  }
  let json: unknown;
  try {
    json = JSON.parse(UTF8.decode(payload));
  } catch (error) {
    return refusal("malformed_json", `${(error as Error).message}; the payload must be JSON in UTF-8`);
  }
  return isObject(json) ? { json } : refusal("wrong_shape", "the payload must be a JSON object");
}

/** The device that a topic has so many levels before its end, the last level being 1. */
export function deviceOf(topic: string, fromEnd: number): DeviceId | Refusal {
  try {
    return deviceId(topic.split("/").at(-fromEnd) ?? "");
  } catch (error) {
    return refusal("invalid_device_id", (error as Error).message);
  }
}

/** Epoch milliseconds of a time as ISO 8601 or in seconds or milliseconds since 1970; `key` names it in a refusal. */
export function timeOf(given: unknown, key: string): number | Refusal {
  const atMs = typeof given === "number" ? epochMs(given) : typeof given === "string" ? isoMs(given) : Number.NaN;
  if (atMs >= 0 && atMs <= LATEST_MS) return atMs;
  return refusal("wrong_shape", `${key} ${show(given)} is neither ISO 8601 nor seconds or milliseconds since 1970`);
}

const epochMs = (given: number) => Math.round(given < SECONDS_BELOW ? given * 1000 : given);

/** A time without a zone is UTC, so that a reading means the same on every gateway. */
function isoMs(given: string): number {
  const [, date, time = "00:00", zone = "Z"] = ISO_TIME.exec(given.trim()) ?? [];
  return date === undefined ? Number.NaN : Date.parse(`${date}T${time.replace(",", ".")}${zone}`);
}

/** Whether a row is an anomaly, as 0, 1, false or true say it; null: something else is said. */
export function labelOf(given: unknown): 0 | 1 | null {
  if (given === 1 || given === true) return 1;
  return given === 0 || given === false ? 0 : null;
}

export const isObject = (value: unknown): value is Record<string, unknown> =>
  typeof value === "object" && value !== null && !Array.isArray(value);

export const show = (value: unknown) => (JSON.stringify(value) ?? String(value)).slice(0, 60);
