// Wires the agent of one gateway; the caller owns configuration, log and shutdown.
import { join } from "node:path";
import { ulid } from "ulid";
import type { Logger } from "../runtime/log.ts";
import { packageVersion } from "../runtime/package-root.ts";
import { openByteMeter } from "./adapters/byte-meter.ts";
import { GrpcLink } from "./adapters/grpc-link.ts";
import { openBrokers } from "./adapters/open-brokers.ts";
import { openSite } from "./adapters/open-site.ts";
import { AgentOperation } from "./adapters/operation.ts";
import { SqliteStore } from "./adapters/sqlite-store.ts";
import { SystemClock } from "./adapters/system-clock.ts";
import { Agent } from "./agent.ts";
import type { AgentConfig } from "./config.ts";
import { lastWill } from "./core/alert.ts";
import { birthTopic } from "./core/home-assistant.ts";
import { labelTopics } from "./core/labels.ts";
import type { GatewayClock } from "./ports/clock.ts";

/** For a service manager to start it again; a loop that hangs ends by SIGKILL instead. */
const STUCK_EXIT_CODE = 70;

/** Resolves when the agent listens; neither broker nor coordinator need be there. Throws when folder or mapping can't be used. */
export async function startAgent(
  config: AgentConfig,
  log: Logger,
  clock: GatewayClock = machineClock(log),
): Promise<Agent> {
  const nowMs = () => clock.wallMs();
  const newId = () => ulid();
  const { FLEAD_SITE: site, FLEAD_GATEWAY_ID: gatewayId, FLEAD_HOME_ASSISTANT: homeAssistant } = config;
  const version = packageVersion;
  const { sensors, brokers } = await openSite(
    {
      site,
      clientId: `flead-${site}-${gatewayId}`,
      mqttUrl: config.FLEAD_MQTT_URL,
      mappingFile: config.FLEAD_MAPPING,
    },
    () => clock.steadyMs(),
  );
  const meter = openByteMeter({
    coordinator: config.FLEAD_COORDINATOR.map(({ port }) => port),
    broker: brokers.addresses.map(({ url }) => portOf(new URL(url))),
  });
  const store = new SqliteStore(join(config.FLEAD_DATA_DIR, "agent.sqlite"), {
    nowMs: nowMs(),
    ballastBytes: config.FLEAD_BALLAST_BYTES ?? 0,
    ...(config.FLEAD_STORE_BYTES === null ? {} : { maxBytes: config.FLEAD_STORE_BYTES }),
  });
  if (store.quarantined !== null)
    log.warn({ quarantined: store.quarantined }, "the agent's file was damaged; a new one was begun");
  const origin = { site, gatewayId, alertPrefix: config.FLEAD_ALERT_PREFIX };
  return Agent.start({
    config,
    version,
    log,
    store,
    link: new GrpcLink(config.FLEAD_COORDINATOR, nowMs, Math.random),
    sensors,
    openBroker: (handlers) =>
      openBrokers(
        brokers,
        {
          topics: (broker) => sensors.topics(broker),
          ownTopics: [...labelTopics(origin), ...(homeAssistant === null ? [] : [birthTopic(homeAssistant)])],
          will: () => lastWill(origin, version, { id: newId(), atMs: nowMs() }),
          nowMs,
        },
        handlers,
      ),
    clock,
    meter,
    openOperation: (onProblem) =>
      new AgentOperation({
        http: config.FLEAD_AGENT_HTTP,
        stuckMs: config.FLEAD_STUCK_SECONDS,
        systemd: config.NOTIFY_SOCKET !== undefined,
        watchdogMs: config.WATCHDOG_USEC === undefined ? null : config.WATCHDOG_USEC / 1000,
        onProblem,
        onStuck: (what) => {
          log.fatal(what);
          process.exit(STUCK_EXIT_CODE);
        },
      }),
    random: Math.random,
    newId,
  });
}

const machineClock = (log: Logger): GatewayClock =>
  new SystemClock({ onStep: (steppedMs) => log.warn({ steppedMs }, "the machine's clock was set") });

const MQTT_PORTS: Readonly<Record<string, number>> = {
  "mqtts:": 8883,
  "ssl:": 8883,
  "tls:": 8883,
  "ws:": 80,
  "wss:": 443,
};

/** The URL's, or the one that mqtt.js takes for its protocol. */
const portOf = ({ port, protocol }: URL): number => (port === "" ? (MQTT_PORTS[protocol] ?? 1883) : Number(port));
