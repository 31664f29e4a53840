// The subcommands of `flead` and what they exit with: 0 done, 1 failed, 2 called wrongly.
import { Command, CommanderError } from "commander";
import { ConfigError } from "../runtime/config.ts";
import { packageVersion } from "../runtime/package-root.ts";
import { agentCommand } from "./agent.ts";
import { coordinatorCommand } from "./coordinator.ts";
import { demoCommand } from "./demo/command.ts";
import { modelCommand } from "./model.ts";
import { planCommand } from "./plan.ts";
import { replayCommand } from "./replay.ts";
import { simulateCommand } from "./simulate.ts";
import { UsageError } from "./usage.ts";

export async function runCommand(argv: readonly string[]): Promise<void> {
  const program = new Command("flead")
    .description("Federated learning for edge anomaly detection.")
    .version(packageVersion)
    .enablePositionalOptions() // a subcommand of a subcommand has options of its own, by the same names
    .showHelpAfterError("Run the command with --help to see what it takes.");
  const commands = [demoCommand(), coordinatorCommand(), agentCommand(), replayCommand(), planCommand()];
  for (const command of [...commands, modelCommand(), simulateCommand()]) {
    program.addCommand(command.exitOverride().showHelpAfterError("Run it with --help to see what it takes."));
  }
  program.exitOverride();
  try {
    await program.parseAsync([...argv]);
  } catch (error) {
    process.exitCode = exitCode(error);
  } finally {
    if (process.connected) process.disconnect(); // a parent's channel would keep the process alive
  }
}

function exitCode(error: unknown): number {
  if (error instanceof CommanderError) return error.exitCode === 0 ? 0 : 2; // commander has said what was wrong
  const message = error instanceof Error ? describe(error) : String(error);
  process.stderr.write(`flead: ${message}\n`);
  if (error instanceof ConfigError) process.stderr.write("The command's --help names the option of each variable.\n");
  return error instanceof UsageError || error instanceof ConfigError ? 2 : 1;
}

/** An error with its causes, each once: what failed, and why. */
function describe(error: Error): string {
  const cause = error.cause instanceof Error ? describe(error.cause) : "";
  return cause === "" || error.message.includes(cause) ? error.message : `${error.message}: ${cause}`;
}
