// The brokers of an agent: those that its mapping names, or the one of its settings.
import { dirname } from "node:path";
import type { OutgoingMessage } from "../core/alert.ts";
import type { Topic } from "../core/mapping/sensor-reader.ts";
import type { Broker, BrokerHandlers } from "../ports/broker.ts";
import { type BrokerAddress, brokerAddress } from "./broker-options.ts";
import { Brokers } from "./brokers.ts";
import type { MappingFile } from "./mapping-schema.ts";
import { MqttBroker } from "./mqtt.ts";

export interface SiteBrokers {
  readonly addresses: readonly BrokerAddress[];
  /** Name of the one that the alerts go to. */
  readonly alerts: string;
}

const DEFAULT_BROKER = "default";

/** `file` is where `mapping` was read from. Throws with the broker, the key and the file that can't be read. */
export async function siteBrokers(
  mapping: MappingFile | null,
  file: string,
  fallback: { readonly url: string; readonly clientId: string },
): Promise<SiteBrokers> {
  const { url, clientId } = fallback;
  const named = mapping?.brokers ?? [];
  const [first] = named;
  if (first === undefined)
    return { addresses: [{ name: DEFAULT_BROKER, url, options: { clientId } }], alerts: DEFAULT_BROKER };
  const addresses = await Promise.all(named.map((broker) => brokerAddress(broker, dirname(file), clientId)));
  return { addresses, alerts: (named.find(({ alerts }) => alerts) ?? first).name };
}

export interface BrokerWork {
  readonly topics: (broker: string) => readonly Topic[];
  /** Beside them, at the broker of the alerts. */
  readonly ownTopics: readonly string[];
  readonly will: () => OutgoingMessage;
  readonly nowMs: () => number;
}

export function openBrokers({ addresses, alerts }: SiteBrokers, work: BrokerWork, handlers: BrokerHandlers): Broker {
  const own = work.ownTopics.map((filter) => ({ filter, qos: 1 as const }));
  const open = new Map<string, Broker>();
  for (const address of addresses) {
    const { name } = address;
    const isAlerts = name === alerts;
    const topics = [...work.topics(name), ...(isAlerts ? own : [])];
    const settings = { address, topics, will: isAlerts ? work.will : null, nowMs: work.nowMs };
    open.set(name, new MqttBroker(settings, isAlerts ? handlers : { ...handlers, onConnect: () => undefined }));
  }
  const broker = open.get(alerts);
  if (broker === undefined) throw new Error(`no broker is named ${alerts}`);
  return new Brokers(open, broker);
}
