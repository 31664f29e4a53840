// What the agent listens to, and what it makes of it: a site's mapping, or the built-in one.
import { readTelemetry, telemetryTopics } from "../../../learning/telemetry/default-mapping.ts";
import type { SensorMessage } from "../../../learning/telemetry/message.ts";
import { isRefusal } from "../../../learning/telemetry/refusal.ts";
import { type Outcome, refused } from "./subscription.ts";

/** A message and the broker that it came from. */
export interface SiteMessage extends SensorMessage {
  readonly broker: string;
}

export interface Topic {
  readonly filter: string;
  readonly qos: 0 | 1 | 2;
}

export interface SensorReader {
  /** What to subscribe to at a broker. */
  topics(broker: string): readonly Topic[];
  /** Never throws, whatever topic and bytes are. */
  read(message: SiteMessage): Outcome;
}

export const defaultReader = (site: string): SensorReader => ({
  topics: () => telemetryTopics(site).map((filter) => ({ filter, qos: 1 })),
  read: (message) => {
    const reading = readTelemetry(message);
    return isRefusal(reading) ? refused(reading) : { readings: [reading], refusals: [] };
  },
});
