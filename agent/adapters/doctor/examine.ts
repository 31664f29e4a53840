// Everything that an agent with these settings needs, looked at one after the other; a running agent is not disturbed.
import { execFile } from "node:child_process";
import { userInfo } from "node:os";
import { promisify } from "node:util";
import type { CohortId } from "../../../learning/ids.ts";
import { clockFinding, type Finding, fail, ok } from "../../core/finding.ts";
import type { Topic } from "../../core/mapping/sensor-reader.ts";
import type { Address } from "../grpc-link.ts";
import { openSite, type SiteSettings } from "../open-site.ts";
import { examineBroker } from "./examine-broker.ts";
import { examineCoordinator } from "./examine-coordinator.ts";
import { examineDisk } from "./examine-disk.ts";

export interface ExaminationSettings extends SiteSettings {
  readonly dataDir: string;
  readonly cohorts: readonly CohortId[];
  readonly coordinators: readonly Address[];
  /** That the agent listens to beside the sensors', at the broker of the alerts. */
  readonly ownTopics: readonly string[];
}

/** Findings as they are made. Never rejects. */
export async function* examine(settings: ExaminationSettings): AsyncGenerator<Finding> {
  const nowMs = Date.now();
  const { findings, plans, lastWrittenMs } = examineDisk(settings.dataDir, settings.cohorts);
  yield* findings;
  yield clockFinding({ nowMs, synchronized: await isSynchronized(), lastWrittenMs });
  yield* examineSite(settings, nowMs);
  const [held = null] = plans.values();
  for (const address of settings.coordinators) yield await examineCoordinator(address, held);
}

async function* examineSite(settings: ExaminationSettings, nowMs: number): AsyncGenerator<Finding> {
  try {
    const { sensors, brokers } = await openSite(settings, () => performance.now());
    const own: readonly Topic[] = settings.ownTopics.map((filter) => ({ filter, qos: 1 as const }));
    let certificates = 0;
    for (const address of brokers.addresses) {
      const topics = [...sensors.topics(address.name), ...(address.name === brokers.alerts ? own : [])];
      const findings = await examineBroker(address, topics, nowMs);
      certificates += findings.filter(({ check }) => check === "certificates").length;
      yield* findings;
    }
    if (certificates === 0) yield ok("certificates", "none in use; the connections are not encrypted");
  } catch (error) {
    yield fail("broker", (error as Error).message, siteAdvice(error as Error));
  }
}

/** `cause`: why a file can't be read, where it is that. */
function siteAdvice({ cause }: Error): string {
  const { code, path }: NodeJS.ErrnoException = cause instanceof Error ? cause : new Error();
  if (path === undefined) return "correct the mapping file; flead agent check says more";
  return code === "ENOENT"
    ? `${path} is not there: put the file there, or name the right one`
    : `${userInfo().username} must be able to read ${path}`;
}

/** By systemd; null where it does not say. */
async function isSynchronized(): Promise<boolean | null> {
  try {
    const asked = ["show", "--property=NTPSynchronized", "--value"];
    const { stdout } = await promisify(execFile)("timedatectl", asked, { timeout: 2_000 });
    return stdout.trim() === "yes" ? true : stdout.trim() === "no" ? false : null;
  } catch {
    return null;
  }
}
