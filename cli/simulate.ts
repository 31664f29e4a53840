// `flead simulate`: a fleet of made gateways drives a coordinator, to see what it bears.

import { writeFile } from "node:fs/promises";
import { availableParallelism } from "node:os";
import { Command, InvalidArgumentError, Option } from "commander";
import { MAX_IN_FLIGHT } from "../agent/uplink.ts";
import { isLoopback } from "../coordinator/core/loopback.ts";
import { cohortId } from "../learning/ids.ts";
import { type HostAndPort, hostsAndPorts } from "../runtime/config.ts";
import { shutdownSignal } from "../runtime/shutdown.ts";
import type { Load, SimulationSettings } from "./simulate/settings.ts";
import { UsageError, wholeNumber } from "./usage.ts";

/** What its updates would do to a cohort that somebody relies on: so a simulated fleet joins no other. */
const COHORT_PREFIX = "simulated";
const MAX_GATEWAYS = 20_000;
const MAX_PROCESSES = 64;
const MAX_DURATION_S = 86_400;

interface SimulateOptions {
  readonly gateways: number;
  readonly updatesPerMinute: number;
  readonly rate?: "max";
  readonly duration: number;
  readonly cohort: string;
  readonly inFlight: number;
  readonly processes?: number;
  readonly reportEvery: number;
  readonly coordinator: HostAndPort[];
  readonly url?: string;
  readonly allowRemote?: true;
  readonly json?: string;
}

export function simulateCommand(): Command {
  return new Command("simulate")
    .description(
      "Drive a coordinator with a fleet of made gateways: real sessions, valid updates of random weights. Its cohort's " +
        `name begins with "${COHORT_PREFIX}", so that no other learns from them: plans/simulated.yaml has one.`,
    )
    .option("--gateways <n>", "how many", wholeNumber(1, MAX_GATEWAYS), 100)
    .option("--updates-per-minute <r>", "of each gateway", positive, 1)
    .addOption(
      new Option("--rate <max>", "as fast as they are acknowledged").choices(["max"]).conflicts("updatesPerMinute"),
    )
    .option("--duration <seconds>", "from when all are connected", wholeNumber(1, MAX_DURATION_S), 30)
    .option("--cohort <id>", "the cohort they are of", simulatedCohort, COHORT_PREFIX)
    .option("--in-flight <n>", "unanswered updates of a gateway", wholeNumber(1, MAX_IN_FLIGHT), 1)
    .option("--processes <n>", "worker processes (default: one a core)", wholeNumber(1, MAX_PROCESSES))
    .option("--report-every <seconds>", "0: only when asked", wholeNumber(0, 3_600), 30)
    .addOption(
      new Option("--coordinator <host:port>", "where it takes sessions; several addresses with commas")
        .argParser(coordinators)
        .default([{ host: "127.0.0.1", port: 7443 }], "127.0.0.1:7443"),
    )
    .option("--url <url>", "its REST API, to ask when each round closed")
    .option("--allow-remote", "the coordinator is not on this machine, and it is yours to load")
    .option("--json <file>", "write the figures there, too")
    .action(simulate);
}

function positive(text: string): number {
  const value = Number(text);
  if (value > 0 && value <= 60_000) return value;
  throw new InvalidArgumentError("It must be a number above 0, at most 60000.");
}

function simulatedCohort(text: string): string {
  if (text.startsWith(COHORT_PREFIX)) return cohortId(text);
  throw new InvalidArgumentError(
    `Random updates would spoil what ${text.slice(0, 64)} learned: the name must begin with "${COHORT_PREFIX}".`,
  );
}

function coordinators(text: string): HostAndPort[] {
  const parsed = hostsAndPorts.safeParse(text);
  if (parsed.success) return parsed.data;
  throw new InvalidArgumentError(`${parsed.error.issues[0]?.message ?? "It is no address"} (several with commas).`);
}

async function simulate(options: SimulateOptions): Promise<void> {
  const away = options.coordinator.find(({ host }) => !isLoopback(host));
  if (away !== undefined && !options.allowRemote) {
    throw new UsageError(
      `${away.host} is not this machine: a simulated fleet fills a coordinator's database; if it is yours to load, add --allow-remote`,
    );
  }
  const settings: SimulationSettings = {
    coordinators: options.coordinator,
    cohort: options.cohort,
    gateways: options.gateways,
    firstGateway: 1,
    processes: Math.min(options.processes ?? availableParallelism(), options.gateways),
    inFlight: options.inFlight,
    reportEveryMs: options.reportEvery * 1000,
    seed: 1,
  };
  const load: Load = options.rate ?? { updatesPerSecond: (options.gateways * options.updatesPerMinute) / 60 };
  const { runSimulation } = await import("./simulate/run.ts");
  const { describe } = await import("./simulate/table.ts");
  const figures = await runSimulation(
    { settings, load, durationMs: options.duration * 1000, url: options.url },
    shutdownSignal(),
  );
  process.stdout.write(`${describe(settings, figures).join("\n")}\n`);
  if (options.json !== undefined) await writeFile(options.json, `${JSON.stringify(figures, null, 2)}\n`);
}
