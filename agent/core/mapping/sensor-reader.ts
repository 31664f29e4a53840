// What the agent listens to, and what it makes of it: a site's mapping, or the built-in one.
import type { DeviceId } from "../../../learning/ids.ts";
import { readTelemetry, telemetryTopics } from "../../../learning/telemetry/default-mapping.ts";
import type { SensorMessage } from "../../../learning/telemetry/message.ts";
import { isRefusal } from "../../../learning/telemetry/refusal.ts";
import type { Outcome } from "./outcome.ts";

/** A message and the broker that it came from. */
export interface SiteMessage extends SensorMessage {
  readonly broker: string;
}

export interface Topic {
  readonly filter: string;
  readonly qos: 0 | 1 | 2;
}

/** Something about a device that an operator wants to know. */
export interface Notice {
  readonly kind: "device_silent" | "device_offline";
  readonly deviceId: DeviceId;
  readonly detail: string;
}

/** Readings are whole rows. */
export interface Heard extends Pick<Outcome, "readings" | "refusals" | "commands"> {
  readonly notices: readonly Notice[];
}

export interface SensorReader {
  /** What to subscribe to at a broker. */
  topics(broker: string): readonly Topic[];
  /** Never throws, whatever topic and bytes are. */
  read(message: SiteMessage): Heard;
  /** What time has brought: rows of what came in parts, devices that went silent. */
  due(wallMs: number): Heard;
}

export const NOTHING_HEARD: Heard = { readings: [], refusals: [], commands: [], notices: [] };

export const defaultReader = (site: string): SensorReader => ({
  topics: () => telemetryTopics(site).map((filter) => ({ filter, qos: 1 })),
  read: (message) => {
    const reading = readTelemetry(message);
    return { ...NOTHING_HEARD, ...(isRefusal(reading) ? { refusals: [reading] } : { readings: [reading] }) };
  },
  due: () => NOTHING_HEARD,
});
