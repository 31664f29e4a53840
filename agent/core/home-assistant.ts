// Home Assistant's MQTT discovery: one retained configuration a device, and one of the gateway's storm.
import type { DeviceId } from "../../learning/ids.ts";
import { type Origin, type OutgoingMessage, stateTopic, statusTopic, stormTopic } from "./alert.ts";
import { MODEL_KINDS } from "./episode.ts";

/** Where Home Assistant says `online` when it has started. */
export const birthTopic = (prefix: string) => `${prefix}/status`;

export const saysOnline = (payload: Uint8Array): boolean => new TextDecoder().decode(payload) === "online";

const MODEL_NAMES = { federated: "Anomaly", isolation_forest: "Anomaly (own forest)", z_score: "Anomaly (z-score)" };

/** An emptied state topic is no anomaly. */
const STATE = "{{ 'ON' if value_json is defined and value_json.data.state == 'active' else 'OFF' }}";
const ATTRIBUTES = "{{ (value_json.data if value_json is defined else {}) | tojson }}";

export interface DiscoverySubject {
  readonly prefix: string;
  readonly origin: Origin;
  readonly version: string;
}

/** Of a device; null: of the gateway. */
export const discoveryTopic = ({ prefix, origin }: DiscoverySubject, device: DeviceId | null): string =>
  `${prefix}/device/${idOf(origin, device)}/config`;

/** A device's alerts under each model are each a problem or none, and so is the gateway's storm (`device` null). */
export function discoveryMessage(subject: DiscoverySubject, device: DeviceId | null): OutgoingMessage {
  const { origin, version } = subject;
  const id = idOf(origin, device);
  const problems =
    device === null
      ? [problem(id, "storm", "Storm of anomalies", stormTopic(origin))]
      : MODEL_KINDS.map((kind) => problem(id, kind, MODEL_NAMES[kind], stateTopic(origin, device, kind)));
  const payload = {
    dev: {
      ids: [id],
      name: device ?? `FLEAD ${origin.gatewayId}`,
      mf: "FLEAD",
      mdl: `behind gateway ${origin.gatewayId} of ${origin.site}`,
    },
    o: { name: "flead", sw: version },
    availability: [{ topic: statusTopic(origin), value_template: "{{ value_json.data.state }}" }],
    qos: 1,
    cmps: Object.fromEntries(problems.map((each) => [each.unique_id, each])),
  };
  return { topic: discoveryTopic(subject, device), payload: JSON.stringify(payload), retain: true };
}

/** What ends the discovery of what had that topic. */
export const forgotten = (topic: string): OutgoingMessage => ({ topic, payload: "", retain: true });

const SEPARATOR = "__";

/** Home Assistant's ids have no dot; no two names become the same. */
const escaped = (name: string) => name.replaceAll("_", "_u").replaceAll(".", "_d");

const idOf = ({ site, gatewayId }: Origin, device: DeviceId | null) =>
  ["flead", site, gatewayId, ...(device === null ? [] : [device])].map(escaped).join(SEPARATOR);

const problem = (id: string, kind: string, name: string, topic: string) => ({
  p: "binary_sensor",
  unique_id: `${id}${SEPARATOR}${escaped(kind)}`,
  name,
  device_class: "problem",
  state_topic: topic,
  value_template: STATE,
  json_attributes_topic: topic,
  json_attributes_template: ATTRIBUTES,
});
