// `flead coordinator`: aggregates, evaluates and promotes, until it is told to stop.
import { Command } from "commander";
import { readCoordinatorConfig } from "../coordinator/config.ts";
import { createLogger } from "../runtime/log.ts";
import { aborted, shutdownSignal, tellParent } from "../runtime/shutdown.ts";
import { addVariableOptions, environmentWith, type VariableOption } from "./usage.ts";

const OPTIONS: readonly VariableOption[] = [
  {
    flags: "--plan <file>",
    variable: "FLEAD_PLANS",
    description: "plan file of a cohort (YAML); repeat it for more cohorts",
    repeatable: true,
  },
  {
    flags: "--held-out <folder>",
    variable: "FLEAD_HELD_OUT",
    description: "labelled streams: <folder>/<cohort>/*.csv",
  },
  { flags: "--mqtt <url>", variable: "FLEAD_MQTT_URL", description: "the broker of live streams, as mqtt://host:port" },
  {
    flags: "--mqtt-user <file>",
    variable: "FLEAD_MQTT_USER_FILE",
    description: "file with the name to log in to it with",
  },
  {
    flags: "--mqtt-password <file>",
    variable: "FLEAD_MQTT_PASSWORD_FILE",
    description: "file with the password",
  },
  {
    flags: "--mqtt-ca <file>",
    variable: "FLEAD_MQTT_CA_FILE",
    description: "who may sign the broker's certificate (PEM)",
  },
  {
    flags: "--data-dir <folder>",
    variable: "FLEAD_DATA_DIR",
    description: "where the embedded PostgreSQL keeps its data",
  },
  {
    flags: "--signing-key <file>",
    variable: "FLEAD_SIGNING_KEY_FILE",
    description: "Ed25519 key (PEM) that signs plans; several coordinators share it",
  },
  { flags: "--grpc <host:port>", variable: "FLEAD_GRPC_ADDRESS", description: "where gateways connect" },
  { flags: "--http <host:port>", variable: "FLEAD_HTTP_ADDRESS", description: "the page and the REST API" },
  {
    flags: "--models-at-hand <n>",
    variable: "FLEAD_MODELS_AT_HAND",
    description: "versions a cohort whose weights are not archived",
  },
  { flags: "--log-level <level>", variable: "FLEAD_LOG_LEVEL", description: "debug, info, warn, error or silent" },
];

export function coordinatorCommand(): Command {
  const command = new Command("coordinator")
    .description(
      "Run the coordinator. DATABASE_URL names a PostgreSQL of your own; without it an embedded one is started.",
    )
    .action(async () => {
      const config = readCoordinatorConfig(environmentWith(command, OPTIONS));
      const log = createLogger("flead-coordinator", config.FLEAD_LOG_LEVEL);
      const signal = shutdownSignal();
      const { openCoordinator } = await import("../coordinator/main.ts");
      const coordinator = await openCoordinator(config, log);
      // A parent that started this process over IPC learns the addresses, whatever ports were asked for.
      tellParent({
        ready: { grpc: `${coordinator.grpcAddress.host}:${coordinator.grpcAddress.port}`, url: coordinator.url },
      });
      try {
        await Promise.race([aborted(signal), coordinator.failed]);
      } finally {
        await coordinator.close();
      }
    });
  return addVariableOptions(command, OPTIONS);
}
