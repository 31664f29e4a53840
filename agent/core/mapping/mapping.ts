// A site's mapping: every message its broker gives, to readings or to why there are none.
import { refusal } from "../../../learning/telemetry/refusal.ts";
import type { SensorReader, SiteMessage, Topic } from "./sensor-reader.ts";
import type { SubscriptionSettings } from "./settings.ts";
import { compileSubscription, type Outcome, refused, type Subscription } from "./subscription.ts";
import { topicFault } from "./topic-pattern.ts";

/** The first subscription of its broker that a message's topic matches reads it. */
export class Mapping implements SensorReader {
  readonly #subscriptions: readonly Subscription[];

  /** Throws MappingError, naming the place, for settings that don't fit together. */
  constructor(subscriptions: readonly SubscriptionSettings[]) {
    this.#subscriptions = subscriptions.map((settings, index) =>
      compileSubscription(settings, ["subscriptions", index]),
    );
  }

  topics(broker: string): Topic[] {
    const filters = new Map<string, Topic>();
    for (const { settings, pattern } of this.#of(broker)) {
      const qos = Math.max(settings.qos, filters.get(pattern.filter)?.qos ?? 0) as Topic["qos"];
      filters.set(pattern.filter, { filter: pattern.filter, qos });
    }
    return [...filters.values()];
  }

  read(message: SiteMessage): Outcome {
    const fault = topicFault(message.topic);
    if (fault !== null) return refused(refusal("invalid_topic", fault));
    for (const subscription of this.#of(message.broker)) {
      const segments = subscription.match(message.topic);
      if (segments !== null) return subscription.read(message, segments);
    }
    return refused(refusal("not_mapped", "no subscription has this topic"));
  }

  #of(broker: string): readonly Subscription[] {
    return this.#subscriptions.filter(({ settings }) => settings.broker === undefined || settings.broker === broker);
  }
}
