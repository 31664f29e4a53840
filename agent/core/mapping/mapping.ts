// A site's mapping: every message its brokers give, to readings or to why there are none.
import { refusal } from "../../../learning/telemetry/refusal.ts";
import { type Outcome, refused } from "./outcome.ts";
import type { SiteMessage, Topic } from "./sensor-reader.ts";
import type { SubscriptionSettings } from "./settings.ts";
import type { SparkplugCodec } from "./sparkplug.ts";
import { compileSubscription, type Route } from "./subscription.ts";
import { topicFault } from "./topic-pattern.ts";

interface Entry {
  readonly settings: SubscriptionSettings;
  readonly routes: readonly Route[];
}

/** The first subscription of its broker that a message's topic matches reads it; words on devices come before data. */
export class Mapping {
  readonly #entries: readonly Entry[];

  /** Throws MappingError, naming the place, for settings that don't fit together. */
  constructor(subscriptions: readonly SubscriptionSettings[], codec: SparkplugCodec) {
    this.#entries = subscriptions.map((settings, index) => {
      return { settings, routes: compileSubscription(settings, codec, ["subscriptions", index]) };
    });
  }

  /** What to subscribe to at a broker. */
  topics(broker: string): Topic[] {
    const topics = new Map<string, Topic>();
    for (const { settings, routes } of this.#of(broker)) {
      for (const filter of routes.flatMap(({ filters }) => filters)) {
        const qos = Math.max(settings.qos, topics.get(filter)?.qos ?? 0) as Topic["qos"];
        topics.set(filter, { filter, qos });
      }
    }
    return [...topics.values()];
  }

  /** Never throws, whatever topic and bytes are. */
  read(message: SiteMessage): Outcome {
    const fault = topicFault(message.topic);
    if (fault !== null) return refused(refusal("invalid_topic", fault));
    for (const { routes } of this.#of(message.broker)) {
      for (const route of routes) {
        const segments = route.match(message.topic);
        if (segments !== null) return route.read(message, segments);
      }
    }
    return refused(refusal("not_mapped", "no subscription has this topic"));
  }

  #of(broker: string): readonly Entry[] {
    return this.#entries.filter(({ settings }) => settings.broker === undefined || settings.broker === broker);
  }
}
