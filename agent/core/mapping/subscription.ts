// One subscription of a mapping as routes: which topics it takes, and what it reads a message on them as.
import { readTelemetry } from "../../../learning/telemetry/default-mapping.ts";
import { isRefusal, refusal } from "../../../learning/telemetry/refusal.ts";
import { decoderOf } from "./decoders/decoder.ts";
import { compileElement } from "./element.ts";
import { MessageRows } from "./message-rows.ts";
import { type Outcome, outcome, refused } from "./outcome.ts";
import { allAt, type Found, hasEach, parsePath } from "./path.ts";
import type { SiteMessage } from "./sensor-reader.ts";
import { type DecoderSettings, MappingError, type SubscriptionSettings } from "./settings.ts";
import type { SparkplugCodec } from "./sparkplug.ts";
import { sparkplugRoute } from "./sparkplug-route.ts";
import { within } from "./text-source.ts";
import { parseTopic, type TopicPattern } from "./topic-pattern.ts";
import { availabilityRoute, labelRoute } from "./word-routes.ts";

export interface Route {
  /** As brokers take them. */
  readonly filters: readonly string[];
  /** The named segments of a topic whose messages are this route's; null: they are not. */
  match(topic: string): ReadonlyMap<string, string> | null;
  /** Never throws, whatever the bytes are. */
  read(message: SiteMessage, segments: ReadonlyMap<string, string>): Outcome;
}

const MAX_ELEMENTS = 1_000;

export interface Subscription {
  /** Of what devices say that is not measured. */
  readonly words: readonly Route[];
  readonly data: Route;
}

/** Throws MappingError for settings that don't fit together. */
export function compileSubscription(
  settings: SubscriptionSettings,
  codec: SparkplugCodec,
  at: readonly (string | number)[] = [],
): Subscription {
  if (settings.partial && settings.expectedIntervalMs === undefined)
    throw new MappingError(
      [...at, "expectedIntervalMs"],
      "must be given where messages are partial: rows are so far apart",
    );
  const { availability, labelTopic } = settings;
  const words = [
    ...(availability === undefined ? [] : [availabilityRoute(availability, settings, [...at, "availability"])]),
    ...(labelTopic === undefined ? [] : [labelRoute(labelTopic, settings, [...at, "labelTopic"])]),
  ];
  return { words, data: dataRoute(settings, codec, at) };
}

function dataRoute(settings: SubscriptionSettings, codec: SparkplugCodec, at: readonly (string | number)[]): Route {
  const pattern = within([...at, "topic"], () => parseTopic(settings.topic));
  const except = settings.except.map((filter, index) => within([...at, "except", index], () => parseTopic(filter)));
  const { filters, read } = compileRead(settings, pattern, codec, at);
  return {
    filters,
    match: (topic) => (except.some((other) => other.match(topic) !== null) ? null : pattern.match(topic)),
    read: (message, segments) =>
      message.retained && settings.ignoreRetained
        ? refused(refusal("retained", "a retained message is of unknown age; ignoreRetained: false uses them"))
        : { ...read(message, segments), rhythm: rhythmOf(settings) },
  };
}

function rhythmOf({ partial, expectedIntervalMs, staleAfterMs }: SubscriptionSettings): Outcome["rhythm"] {
  const afterMs = staleAfterMs ?? (expectedIntervalMs === undefined ? null : 3 * expectedIntervalMs);
  return afterMs === null
    ? null
    : { staleAfterMs: afterMs, rowEveryMs: partial && expectedIntervalMs !== undefined ? expectedIntervalMs : null };
}

function compileRead(
  settings: SubscriptionSettings,
  pattern: TopicPattern,
  codec: SparkplugCodec,
  at: readonly (string | number)[],
): Pick<Route, "filters" | "read"> {
  const { decode } = settings;
  const filters = [pattern.filter];
  if (decode.kind === "sparkplug") return sparkplugRoute(settings, pattern, codec, at);
  if (decode.kind === "flead") return { filters, read: readBuiltIn };
  return { filters, read: compileBody(settings, decode, pattern.names, at) };
}

function readBuiltIn(message: SiteMessage): Outcome {
  const reading = readTelemetry(message);
  return isRefusal(reading) ? refused(reading) : outcome({ readings: [reading] });
}

function compileBody(
  settings: SubscriptionSettings,
  decode: Exclude<DecoderSettings, { kind: "sparkplug" | "flead" }>,
  names: readonly string[],
  at: readonly (string | number)[],
): Route["read"] {
  const decoder = within([...at, "decode"], () => decoderOf(decode));
  const each = settings.each === undefined ? null : within([...at, "each"], () => parsePath(settings.each ?? ""));
  if (each !== null && !hasEach(each))
    throw new MappingError([...at, "each"], "it must lead to many things, by * or [*] in it");
  const readElement = compileElement(settings, names, at);
  return ({ topic, payload, receivedAtMs }, segments) => {
    const decoded = decoder(payload);
    if (isRefusal(decoded)) return refused(decoded);
    const top = decoded.body;
    const found: readonly Found[] = each === null ? [{ value: top, key: "" }] : allAt(each, top, MAX_ELEMENTS + 1);
    if (found.length === 0) return refused(refusal("wrong_shape", `nothing is at ${settings.each}`));
    const rows = new MessageRows(receivedAtMs);
    if (found.length > MAX_ELEMENTS)
      rows.refuse(refusal("too_large", `more than ${MAX_ELEMENTS} things are at ${settings.each}`));
    for (const { value: here, key } of found.slice(0, MAX_ELEMENTS))
      readElement({ topic, segments, top, here, key }, receivedAtMs, rows);
    return rows.outcome();
  };
}
