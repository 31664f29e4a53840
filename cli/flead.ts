#!/usr/bin/env node
// The `flead` command. Before anything else is loaded: is Node the pinned one, and set to a small memory?
import { spawn } from "node:child_process";
import { constants } from "node:os";
import { join } from "node:path";
import { packageRoot } from "../runtime/package-root.ts";
import { MALLOC_SETTINGS, saveMemory } from "./memory.ts";

const OLDEST_NODE_MAJOR = 22;

if (Number(process.versions.node.split(".")[0]) >= OLDEST_NODE_MAJOR) {
  saveMemory();
  const { runCommand } = await import("./program.ts");
  await runCommand(process.argv);
} else {
  runUnderPinnedNode();
}

/**
 * Native modules of FLEAD crash under older Nodes instead of saying so; npm put a right one beside them. It hears each
 * signal once, from here: in the group of this process it would have a terminal's Ctrl-C a second time, which ends it at
 * once. By the channel it sees this process die.
 */
function runUnderPinnedNode(): void {
  const node = join(packageRoot, "node_modules/.bin/node");
  const child = spawn(node, process.argv.slice(1), {
    env: { ...MALLOC_SETTINGS, ...process.env },
    detached: true,
    stdio: ["inherit", "inherit", "inherit", "ipc"],
  });
  child.on("error", () => {
    process.stderr.write(
      `flead needs Node ${OLDEST_NODE_MAJOR} or newer; this is ${process.version}, and ${node} is not there\n`,
    );
    process.exit(1);
  });
  for (const signal of ["SIGINT", "SIGTERM"] as const) process.on(signal, () => child.kill(signal));
  child.on("exit", (code, signal) => process.exit(signal ? 128 + constants.signals[signal] : (code ?? 1)));
}
