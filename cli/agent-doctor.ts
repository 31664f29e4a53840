// `flead agent doctor`: looks at all that an agent needs, and says what to do where something is not well.
import { Command } from "commander";
import { readAgentConfig } from "../agent/config.ts";
import type { Finding } from "../agent/core/finding.ts";
import { addVariableOptions, environmentWith, type VariableOption } from "./usage.ts";

/** `options`: of the agent that is examined. */
export function agentDoctorCommand(options: readonly VariableOption[]): Command {
  const command = new Command("doctor")
    .description(
      "Examine disk, database, plan, clock, broker, certificates and coordinator as an agent with these settings meets them.\n" +
        "A running agent is not disturbed. Exit code 1 if something fails.",
    )
    .action(async () => {
      const config = readAgentConfig(environmentWith(command, options));
      const { examine } = await import("../agent/adapters/doctor/examine.ts");
      const { labelTopics } = await import("../agent/core/labels.ts");
      const { FLEAD_SITE: site, FLEAD_GATEWAY_ID: gatewayId } = config;
      const findings = examine({
        site,
        clientId: `flead-${site}-${gatewayId}`,
        mqttUrl: config.FLEAD_MQTT_URL,
        mappingFile: config.FLEAD_MAPPING,
        dataDir: config.FLEAD_DATA_DIR,
        cohorts: config.FLEAD_COHORTS.map(({ cohort }) => cohort),
        coordinators: config.FLEAD_COORDINATOR,
        ownTopics: labelTopics({ site, gatewayId }),
      });
      for await (const finding of findings) {
        process.stdout.write(`${lineOf(finding)}\n`);
        if (finding.verdict === "fail") process.exitCode = 1;
      }
    });
  return addVariableOptions(command, options).exitOverride();
}

const lineOf = ({ check, verdict, detail, advice }: Finding) =>
  `${verdict.padEnd(5)} ${check.padEnd(13)} ${detail}${advice === null ? "" : ` -> ${advice}`}`;
