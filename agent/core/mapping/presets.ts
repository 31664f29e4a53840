// Subscriptions for systems that many sites have, as those document their topics and payloads. A file may change each key.
import type { SubscriptionSettings } from "./settings.ts";

/** As far as a file would say it; what is left out has the defaults of the file. */
type Preset = Readonly<Record<string, unknown>> & Pick<SubscriptionSettings, "topic">;

const SWITCHES = { ON: 1, OFF: 0, true: 1, false: 0 };

export const mappingPresets = {
  /** The built-in mapping of `flead/v1/<site>/<device>/telemetry`. */
  flead: { topic: "flead/v1/{site}/{device}/telemetry", decode: "flead" },
  insa: { topic: "insa/devices/{device}/telemetry", decode: "flead" },
  /** A device's state is one JSON object under its friendly name. */
  zigbee2mqtt: {
    topic: "zigbee2mqtt/{device}",
    device: "{device}",
    fields: {
      except: [
        "linkquality",
        "update.progress",
        "update.remaining",
        "update.installed_version",
        "update.latest_version",
      ],
      map: SWITCHES,
    },
    time: { path: "last_seen" },
    availability: { topic: "zigbee2mqtt/{device}/availability", path: "state" },
  },
  /** Sensor telemetry, an object a sensor. Its `Time` is local and without a zone; `time` with a zone uses it. */
  tasmota: {
    topic: "tele/{device}/SENSOR",
    device: "{device}",
    fields: { map: SWITCHES },
    availability: { topic: "tele/{device}/LWT", online: ["Online"], offline: ["Offline"] },
  },
  /** One entity's state a message; each entity is a device with the channel `state`. */
  statestream: {
    topic: "homeassistant/{domain}/{entity}/state",
    device: "{domain}.{entity}",
    decode: "number",
    channels: [
      {
        name: "state",
        sentinels: ["unavailable", "unknown", "None"],
        map: { on: 1, off: 0, open: 1, closed: 0, home: 1, not_home: 0 },
      },
    ],
  },
  /** `{"Device A": [{"ts": …, "values": {…}}]}`. */
  thingsboard: {
    topic: "v1/gateway/telemetry",
    each: "*[*]",
    device: "{key}",
    fields: { under: "values", map: { true: 1, false: 0 } },
    time: { path: "ts", format: "milliseconds" },
  },
  /** One metric a message, `json_timestamp_units = "1s"`. */
  telegraf: {
    topic: "telegraf/{host}/{plugin}",
    device: { path: "tags.host" },
    fields: { under: "fields", prefix: { path: "name" }, map: { true: 1, false: 0 } },
    time: { path: "timestamp", format: "seconds" },
    partial: true,
    expectedIntervalMs: 10_000,
  },
  /** Many metrics a message. */
  "telegraf-batch": {
    topic: "telegraf/{host}/{plugin}",
    each: "metrics[*]",
    device: { path: "tags.host" },
    fields: { under: "fields", prefix: { path: "name" }, map: { true: 1, false: 0 } },
    time: { path: "timestamp", format: "seconds" },
    partial: true,
    expectedIntervalMs: 10_000,
  },
  /** An edge node's own metrics are a device as well, `group.node`; each row has all that a device is known to be. */
  sparkplug: {
    topic: "spBv1.0/{group}/+/{node}/#",
    decode: "sparkplug",
    device: "{group}.{source}",
    qos: 0,
    fields: { map: { true: 1, false: 0 } },
  },
} satisfies Readonly<Record<string, Preset>>;

export type PresetName = keyof typeof mappingPresets;
