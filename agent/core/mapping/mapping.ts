// A site's mapping: every message its brokers give, to readings or to why there are none.
import { refusal } from "../../../learning/telemetry/refusal.ts";
import { type Outcome, refused } from "./outcome.ts";
import type { SiteMessage, Topic } from "./sensor-reader.ts";
import type { SubscriptionSettings } from "./settings.ts";
import type { SparkplugCodec } from "./sparkplug.ts";
import { compileSubscription, type Route } from "./subscription.ts";
import { topicFault } from "./topic-pattern.ts";

interface BrokerRoute extends Route {
  readonly broker: string | null;
  readonly qos: Topic["qos"];
}

/**
 * The first subscription of its broker that a message's topic matches reads it. Before all of them come their words, so that
 * no subscription takes another's label for a measurement.
 */
export class Mapping {
  readonly #routes: readonly BrokerRoute[];

  /** Throws MappingError, naming the place, for settings that don't fit together. */
  constructor(subscriptions: readonly SubscriptionSettings[], codec: SparkplugCodec) {
    const compiled = subscriptions.map((settings, index) => {
      const { words, data } = compileSubscription(settings, codec, ["subscriptions", index]);
      const of = (route: Route) => ({ ...route, broker: settings.broker ?? null, qos: settings.qos });
      return { words: words.map(of), data: of(data) };
    });
    this.#routes = [...compiled.flatMap(({ words }) => words), ...compiled.map(({ data }) => data)];
  }

  /** What to subscribe to at a broker. */
  topics(broker: string): Topic[] {
    const topics = new Map<string, Topic>();
    for (const { filters, qos } of this.#of(broker)) {
      for (const filter of filters) {
        const highest = Math.max(qos, topics.get(filter)?.qos ?? 0) as Topic["qos"];
        topics.set(filter, { filter, qos: highest });
      }
    }
    return [...topics.values()];
  }

  /** Never throws, whatever topic and bytes are. */
  read(message: SiteMessage): Outcome {
    const fault = topicFault(message.topic);
    if (fault !== null) return refused(refusal("invalid_topic", fault));
    for (const route of this.#of(message.broker)) {
      const segments = route.match(message.topic);
      if (segments !== null) return route.read(message, segments);
    }
    return refused(refusal("not_mapped", "no subscription has this topic"));
  }

  #of(broker: string): readonly BrokerRoute[] {
    return this.#routes.filter((route) => route.broker === null || route.broker === broker);
  }
}
