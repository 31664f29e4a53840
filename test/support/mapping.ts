// A mapping of a YAML text, and messages for it.
import { parseMappingFile } from "../../agent/adapters/mapping-file.ts";
import { sparkplugCodec } from "../../agent/adapters/sparkplug-codec.ts";
import { Mapping } from "../../agent/core/mapping/mapping.ts";

export const RECEIVED_MS = Date.parse("2026-11-21T10:00:00Z");

/** Of `subscriptions`, as a file has them below that key, at brokers of these names. */
export function mappingOf(subscriptions: string, brokers: readonly string[] = []): Mapping {
  const named = brokers.map((name) => `{name: ${name}, url: "mqtt://${name}"}`);
  const file = parseMappingFile(`brokers: [${named.join()}]\nsubscriptions:\n${subscriptions}`);
  return new Mapping(file.subscriptions, sparkplugCodec);
}

export const bytesOf = (body: unknown): Uint8Array =>
  body instanceof Uint8Array ? body : new TextEncoder().encode(typeof body === "string" ? body : JSON.stringify(body));

export const messageOf = (topic: string, body: unknown, retained = false) => ({
  broker: "default",
  topic,
  payload: bytesOf(body),
  retained,
  receivedAtMs: RECEIVED_MS,
});

/** The readings of a message, short; or the kinds of refusals where there are none. */
export function readShort(mapping: Mapping, topic: string, body: unknown, retained = false) {
  const { readings, refusals } = mapping.read(messageOf(topic, body, retained));
  if (readings.length === 0) return refusals.map(({ refused }) => refused);
  return readings.map(({ deviceId, atMs, values, label }) => ({
    device: deviceId,
    at: atMs === RECEIVED_MS ? "received" : new Date(atMs).toISOString(),
    values: Object.fromEntries(values),
    ...(label !== null && { label }),
  }));
}
