// A subscription to Sparkplug B: a source's message is a row of all that the source is known to be.
import { MAX_PAYLOAD_BYTES } from "../../../learning/telemetry/message.ts";
import { refusal } from "../../../learning/telemetry/refusal.ts";
import { malformed, tooLarge } from "./decoders/text.ts";
import { compileElement, deviceIn } from "./element.ts";
import { MessageRows } from "./message-rows.ts";
import { type Outcome, outcome, refused, type SiteCommand, type Word } from "./outcome.ts";
import { MappingError, type SubscriptionSettings } from "./settings.ts";
import { type Source, type SparkplugCodec, SparkplugNodes, sparkplugFilters, sparkplugTopic } from "./sparkplug.ts";
import type { Route } from "./subscription.ts";
import { type CompiledText, type Context, compileText } from "./text-source.ts";
import type { TopicPattern } from "./topic-pattern.ts";

/** What templates may name: `source` is `node.device`, or `node` of what the edge node itself says. */
const NAMES = ["group", "node", "device", "source"];
const FILTER = /^[^/]+\/[^/]+\/\+\/[^/]+\/#$/;

export function sparkplugRoute(
  settings: SubscriptionSettings,
  pattern: TopicPattern,
  codec: SparkplugCodec,
  at: readonly (string | number)[],
): Pick<Route, "filters" | "read"> {
  if (!FILTER.test(pattern.filter))
    throw new MappingError([...at, "topic"], "of Sparkplug it must be as spBv1.0/{group}/+/{node}/#");
  if (settings.each !== undefined)
    throw new MappingError([...at, "each"], "a Sparkplug message has nothing to fan out");
  const [namespace = "", group = "", , node = ""] = pattern.filter.split("/");
  const device = compileText(settings.device ?? "", NAMES, "the device", [...at, "device"]);
  const readElement = compileElement(settings, NAMES, at);
  const ofBroker = new Map<string, SparkplugNodes>();
  return {
    filters: sparkplugFilters(namespace, group, node),
    read: ({ broker, topic, payload: bytes, receivedAtMs }) => {
      const place = sparkplugTopic(topic);
      if (place === null)
        return refused(refusal("not_mapped", "no birth, data or death of Sparkplug comes on this topic"));
      if (bytes.byteLength > MAX_PAYLOAD_BYTES) return refused(tooLarge(bytes));
      const payload = codec.decode(bytes);
      if (payload === null) return refused(malformed("the payload is none of Sparkplug B"));
      const nodes = ofBroker.get(broker) ?? new SparkplugNodes();
      ofBroker.set(broker, nodes);
      const { state, refusals, gone, born, wantsBirth } = nodes.step(place, payload, receivedAtMs);
      const rows = new MessageRows(receivedAtMs);
      const here = contextOf(topic, place, state);
      if (state !== null) readElement(here, payload.atMs ?? receivedAtMs, rows);
      const read = state === null ? outcome({}) : rows.outcome();
      const commandTopic = [place.namespace, place.group, "NCMD", place.node].join("/");
      const rebirth: SiteCommand[] = wantsBirth
        ? [{ broker, topic: commandTopic, payload: codec.rebirth(receivedAtMs) }]
        : [];
      return {
        ...read,
        refusals: [...refusals, ...read.refusals],
        words: [...wordsOf(gone, device, topic, false), ...wordsOf(born ? [place] : [], device, topic, true)],
        commands: rebirth,
      } satisfies Outcome;
    },
  };
}

function contextOf(topic: string, { group, node, device }: Source, state: unknown): Context {
  const source = device === null ? node : `${node}.${device}`;
  const segments = new Map(Object.entries({ group, node, device: device ?? "", source }));
  return { topic, segments, top: state, here: state, key: "" };
}

const wordsOf = (sources: readonly Source[], device: CompiledText, topic: string, online: boolean): Word[] =>
  sources.flatMap((source) => {
    const deviceId = deviceIn(device, contextOf(topic, source, null));
    return typeof deviceId === "string" ? [{ kind: "availability", deviceId, online }] : [];
  });
