// Topics that say of a device what is no measurement: whether it is there, and what is true of it.
import { show } from "../../../learning/telemetry/message.ts";
import { isRefusal, refusal } from "../../../learning/telemetry/refusal.ts";
import { decodeJson } from "./decoders/json.ts";
import { stringDecoder } from "./decoders/string.ts";
import { deviceIn } from "./element.ts";
import { compileLabel } from "./label.ts";
import { type Outcome, outcome, refused, type Word } from "./outcome.ts";
import { valueAt } from "./path.ts";
import {
  type AvailabilitySettings,
  type LabelTopicSettings,
  MappingError,
  type SubscriptionSettings,
} from "./settings.ts";
import type { Route } from "./subscription.ts";
import { type Context, compileText, singlePath, within } from "./text-source.ts";
import { parseTopic } from "./topic-pattern.ts";

type Place = readonly (string | number)[];

export function availabilityRoute(settings: AvailabilitySettings, of: SubscriptionSettings, at: Place): Route {
  const path = singlePath(settings.path ?? "", [...at, "path"]);
  const allowed = [...settings.online, ...settings.offline].join(", ");
  return wordRoute(settings, of, at, (context, deviceId) => {
    const said = valueAt(path, context.top, context.here);
    const word = typeof said === "object" ? null : String(said);
    const online = settings.online.some((name) => name === word);
    if (online || settings.offline.some((name) => name === word)) return { kind: "availability", deviceId, online };
    return refusal("wrong_shape", `availability ${show(said)}; allowed is one of ${allowed}`);
  });
}

export function labelRoute(settings: LabelTopicSettings, of: SubscriptionSettings, at: Place): Route {
  const reader = compileLabel({ path: "", ...settings }, at);
  return wordRoute(settings, of, at, (context, deviceId) => {
    const label = reader.read(context) ?? refusal("bad_label", "the message says no label");
    return typeof label === "object" ? label : { kind: "label", deviceId, label };
  });
}

/** Retained ones are taken: what is true now is what was said last. With a path the payload is JSON, else a text or JSON. */
function wordRoute(
  { topic, path }: { readonly topic: string; readonly path?: string },
  { device }: SubscriptionSettings,
  at: Place,
  readWord: (context: Context, deviceId: Word["deviceId"]) => Word | ReturnType<typeof refusal>,
): Route {
  const pattern = within([...at, "topic"], () => parseTopic(topic));
  if (device === undefined || (typeof device === "object" && "path" in device))
    throw new MappingError(at, "the device must be said by the topic, as this topic's messages have no other");
  const name = compileText(device, pattern.names, "the device", [...at, "topic"]);
  const decode = path === undefined ? stringDecoder(undefined) : decodeJson;
  return {
    filters: [pattern.filter],
    match: pattern.match,
    read: (message, segments): Outcome => {
      const decoded = decode(message.payload);
      if (isRefusal(decoded)) return refused(decoded);
      const top = path === undefined ? plain(decoded.body) : decoded.body;
      const context = { topic: message.topic, segments, top, here: top, key: "" };
      const deviceId = deviceIn(name, context);
      if (typeof deviceId !== "string") return refused(deviceId);
      const word = readWord(context, deviceId);
      return isRefusal(word) ? refused(word) : outcome({ words: [word] });
    },
  };
}

/** A label may be said as 0, 1, true or false without quotes. */
const PLAIN: Readonly<Record<string, unknown>> = { "0": 0, "1": 1, true: true, false: false };
const plain = (text: unknown): unknown => (typeof text === "string" && Object.hasOwn(PLAIN, text) ? PLAIN[text] : text);
