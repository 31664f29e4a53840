// The agent's settings, from environment variables.
import { z } from "zod";
import { gatewayId, PLAN_KEY } from "../learning/ids.ts";
import { bytesOrOff, hostAndPort, hostsAndPorts, readConfig } from "../runtime/config.ts";
import { LOG_LEVELS } from "../runtime/log.ts";
import { parseCohortRules } from "./core/cohorts.ts";

/** A transformation whose error message becomes the setting's. */
function parsed<Value>(parse: (text: string) => Value) {
  return (text: string, context: z.RefinementCtx): Value => {
    try {
      return parse(text);
    } catch (error) {
      context.addIssue({ code: "custom", message: (error as Error).message });
      return z.NEVER;
    }
  };
}

const topicLevel = z
  .string()
  .regex(/^[A-Za-z0-9][A-Za-z0-9_.-]{0,63}$/, "must be 1 to 64 letters, digits, '_', '.' or '-'");
const topicPrefix = z.string().regex(/^[A-Za-z0-9_.-]+(\/[A-Za-z0-9_.-]+)*$/, "must be a topic prefix, or off");

const SUMMARY_WINDOWS_MS = { "30s": 30_000, "5m": 300_000, off: null } as const;
const planKeys = z
  .string()
  .transform((text) => text.split(",").map((key) => key.trim()))
  .pipe(z.array(z.string().regex(PLAN_KEY, "must be keys of 43 characters, as the coordinator logs its own")))
  .default([]);

export const agentConfigSchema = z.object({
  FLEAD_GATEWAY_ID: z.string().transform(parsed(gatewayId)),
  FLEAD_SITE: topicLevel.default("site"),
  FLEAD_MQTT_URL: z
    .string()
    .regex(/^(mqtts?|wss?|tcp|tls|ssl):\/\/\S+$/, "must be a URL such as mqtt://127.0.0.1:1883")
    .default("mqtt://127.0.0.1:1883"),
  /** A YAML file that says which messages become rows; none: the built-in mapping. */
  FLEAD_MAPPING: z.string().nullable().default(null),
  /** Of one coordinator or of several over one database, comma-separated. */
  FLEAD_COORDINATOR: hostsAndPorts.prefault("127.0.0.1:7443"),
  /** Public keys whose plans are used, comma-separated; none: the key of the first plan. */
  FLEAD_PLAN_KEY: planKeys,
  FLEAD_DATA_DIR: z.string().default(".flead/agent"),
  /** Cohort = device pattern, `;` between rules, the first match wins. */
  FLEAD_COHORTS: z.string().default("default=*").transform(parsed(parseCohortRules)),
  FLEAD_ALERT_PREFIX: topicPrefix
    .default("insa/iiot/ml/anomaly")
    .transform((prefix) => (prefix === "off" ? null : prefix)),
  /** Home Assistant's discovery prefix. */
  FLEAD_HOME_ASSISTANT: topicPrefix.default("off").transform((prefix) => (prefix === "off" ? null : prefix)),
  /** How long the windows are whose summaries go to the coordinator. */
  FLEAD_SUMMARIES: z
    .enum(["30s", "5m", "off"])
    .default("30s")
    .transform((windows) => SUMMARY_WINDOWS_MS[windows]),
  /** Where health and metrics are served. */
  FLEAD_AGENT_HTTP: z.union([z.literal("off").transform(() => null), hostAndPort]).prefault("127.0.0.1:9464"),
  /** An event loop that stands still, or rows of which none is judged, for so long end the process. */
  FLEAD_STUCK_SECONDS: z
    .string()
    .regex(/^(off|[5-9]|[1-9]\d{1,3})$/, "must be a whole number of seconds from 5 to 9999, or off")
    .default("60")
    .transform((seconds) => (seconds === "off" ? null : 1000 * Number(seconds))),
  /** Of the agent's file without its journal. */
  FLEAD_STORE_BYTES: bytesOrOff(8 * 1024 ** 2).prefault("512M"),
  /** Kept free for alerts when the disk is full. */
  FLEAD_BALLAST_BYTES: bytesOrOff(64 * 1024).prefault("4M"),
  /** Both ways between gateway and coordinator; spent, summaries and updates wait till the next day. */
  FLEAD_DAILY_BYTES: bytesOrOff(64 * 1024).prefault("off"),
  /** Set by systemd, for a service of type notify and one with a watchdog. */
  NOTIFY_SOCKET: z.string().optional(),
  WATCHDOG_USEC: z.coerce.number().int().positive().optional(),
  FLEAD_LOG_LEVEL: z.enum(LOG_LEVELS).default("info"),
});

export type AgentConfig = Readonly<z.output<typeof agentConfigSchema>>;

/** Throws ConfigError with every fault. */
export const readAgentConfig = (env: Readonly<Record<string, string | undefined>>): AgentConfig =>
  readConfig(agentConfigSchema, env);
