// A broker as the agent would use it, under another client id: connection, subscriptions, certificates.
import { X509Certificate } from "node:crypto";
import { TLSSocket } from "node:tls";
import { connectAsync, type MqttClient } from "mqtt";
import { expiry, type Finding, fail, ok, warn } from "../../core/finding.ts";
import type { Topic } from "../../core/mapping/sensor-reader.ts";
import { brokerAdvice } from "../broker-fault.ts";
import type { BrokerAddress } from "../broker-options.ts";

const PATIENCE_MS = 5_000;
/** What a broker answers to a subscription that it does not allow, from this on. */
const REFUSED = 128;
const ENCRYPTED = /^(mqtts|tls|ssl|wss):/;

export async function examineBroker(
  { name, url, options }: BrokerAddress,
  topics: readonly Topic[],
  nowMs: number,
): Promise<Finding[]> {
  const where = `${name} at ${withoutPassword(url)}`;
  const own = typeof options.cert === "string" ? [ownCertificate(name, options.cert, nowMs)] : [];
  let client: MqttClient;
  try {
    client = await connectAsync(
      url,
      {
        ...options,
        clientId: `${options.clientId}-doctor`,
        clean: true,
        reconnectPeriod: 0,
        connectTimeout: PATIENCE_MS,
      },
      false,
    );
  } catch (thrown) {
    const error = thrown as Error;
    const advice = brokerAdvice(error) ?? "is it running, and are address, user, password and certificates right?";
    const away = fail("broker", `${where}: ${error.message || String(error)}`, `${advice} The agent keeps trying`);
    return [...own, away, ...(ENCRYPTED.test(url) ? [notSeen(name)] : [])];
  }
  try {
    return [...own, await subscribed(client, where, topics), ...brokersCertificate(client, name, url, nowMs)];
  } finally {
    await client.endAsync(true);
  }
}

async function subscribed(client: MqttClient, where: string, topics: readonly Topic[]): Promise<Finding> {
  const advice = "let the agent's user read these topics in the broker's access rules";
  const wanted = Object.fromEntries(topics.map(({ filter, qos }) => [filter, { qos }]));
  try {
    const granted = topics.length === 0 ? [] : await client.subscribeAsync(wanted);
    const refused = granted.filter(({ qos }) => qos >= REFUSED).map(({ topic }) => topic);
    if (refused.length > 0) return fail("broker", `${where} refuses ${refused.join(", ")}`, advice);
    return ok("broker", `${where}: connected, ${topics.length} subscriptions allowed`);
  } catch (error) {
    return fail("broker", `${where} refuses subscriptions: ${(error as Error).message}`, advice);
  }
}

function ownCertificate(name: string, pem: string, nowMs: number): Finding {
  try {
    return expiry(`the agent's (for broker ${name})`, Date.parse(new X509Certificate(pem).validTo), nowMs);
  } catch (error) {
    return fail("certificates", `the agent's own for broker ${name}: ${(error as Error).message}`, "it must be PEM");
  }
}

const notSeen = (name: string): Finding =>
  warn("certificates", `broker ${name}'s was not examined: there is no connection`, "examine again when there is one");

function brokersCertificate({ stream }: MqttClient, name: string, url: string, nowMs: number): Finding[] {
  if (stream instanceof TLSSocket)
    return [expiry(`broker ${name}'s`, Date.parse(stream.getPeerCertificate().valid_to), nowMs)];
  // A WebSocket does not show it.
  return ENCRYPTED.test(url)
    ? [ok("certificates", `broker ${name}'s is accepted; until when it is valid is not seen`)]
    : [];
}

function withoutPassword(url: string): string {
  const shown = new URL(url);
  shown.username = "";
  shown.password = "";
  return shown.toString();
}
