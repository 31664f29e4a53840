// `flead agent`: reads sensors, learns, alerts, until it is told to stop.
import { Command } from "commander";
import { readAgentConfig } from "../agent/config.ts";
import { createLogger } from "../runtime/log.ts";
import { aborted, shutdownSignal, tellParent } from "../runtime/shutdown.ts";
import { agentCheckCommand } from "./agent-check.ts";
import { agentDiscoverCommand } from "./agent-discover.ts";
import { agentDoctorCommand } from "./agent-doctor.ts";
import { agentSchemaCommand } from "./agent-schema.ts";
import { addVariableOptions, environmentWith, type VariableOption } from "./usage.ts";

const OPTIONS: readonly VariableOption[] = [
  { flags: "--gateway-id <id>", variable: "FLEAD_GATEWAY_ID", description: "this gateway's name in the fleet" },
  { flags: "--site <id>", variable: "FLEAD_SITE", description: "the site it stands at, a segment of every topic" },
  { flags: "--mqtt <url>", variable: "FLEAD_MQTT_URL", description: "the broker, as mqtt://host:port" },
  {
    flags: "--config <file>",
    variable: "FLEAD_MAPPING",
    description: "mapping file (YAML): which messages become rows",
  },
  {
    flags: "--coordinator <host:port>",
    variable: "FLEAD_COORDINATOR",
    description: "where the coordinator takes sessions; several addresses with commas",
  },
  {
    flags: "--plan-key <key>",
    variable: "FLEAD_PLAN_KEY",
    description: "the coordinator's public key, whose plans are used; several with commas",
  },
  {
    flags: "--data-dir <folder>",
    variable: "FLEAD_DATA_DIR",
    description: "models, outbox and episodes of this gateway",
  },
  {
    flags: "--cohorts <patterns>",
    variable: "FLEAD_COHORTS",
    description: "which devices learn together, as pumps=pump-*;default=*",
  },
  { flags: "--alert-prefix <topic>", variable: "FLEAD_ALERT_PREFIX", description: "second topic for events, or off" },
  {
    flags: "--home-assistant <prefix>",
    variable: "FLEAD_HOME_ASSISTANT",
    description: "Home Assistant's discovery prefix, or off",
  },
  {
    flags: "--summaries <windows>",
    variable: "FLEAD_SUMMARIES",
    description: "summaries of 30s or 5m windows for the coordinator, or off",
  },
  { flags: "--http <host:port>", variable: "FLEAD_AGENT_HTTP", description: "/healthz and /metrics, or off" },
  {
    flags: "--stuck-seconds <seconds>",
    variable: "FLEAD_STUCK_SECONDS",
    description: "end the process when it makes no progress for so long, or off",
  },
  {
    flags: "--store-bytes <bytes>",
    variable: "FLEAD_STORE_BYTES",
    description: "most that agent.sqlite may take, or off",
  },
  {
    flags: "--ballast-bytes <bytes>",
    variable: "FLEAD_BALLAST_BYTES",
    description: "kept on the disk for alerts when it is full, or off",
  },
  {
    flags: "--daily-bytes <bytes>",
    variable: "FLEAD_DAILY_BYTES",
    description: "most that a day may carry to and from the coordinator, alerts excepted, or off",
  },
  { flags: "--log-level <level>", variable: "FLEAD_LOG_LEVEL", description: "debug, info, warn, error or silent" },
];

/** 172,800 a day at the very most; at rest it is a line now and then. */
const LOG_LINES_A_MINUTE = 120;

export function agentCommand(): Command {
  const command = new Command("agent").description("Run the agent of one gateway.").action(async () => {
    const config = readAgentConfig(environmentWith(command, OPTIONS));
    const log = createLogger("flead-agent", config.FLEAD_LOG_LEVEL, LOG_LINES_A_MINUTE);
    const signal = shutdownSignal();
    const { startAgent } = await import("../agent/main.ts");
    const agent = await startAgent(config, log);
    tellParent({ ready: {} });
    await aborted(signal);
    await agent.close();
  });
  command.enablePositionalOptions();
  const subcommands = [agentCheckCommand(), agentDiscoverCommand(), agentSchemaCommand(), agentDoctorCommand(OPTIONS)];
  for (const subcommand of subcommands) command.addCommand(subcommand);
  return addVariableOptions(command, OPTIONS);
}
