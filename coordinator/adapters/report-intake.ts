// Reports on their way into the database: those that come within a moment are committed together, and answered then.
import type { AnalyticsStore, GatewayWindows } from "../ports/analytics-store.ts";
import type { GatewayReport, GatewayStore } from "../ports/gateway-store.ts";
import { isOfTheData } from "./data-error.ts";
import { GroupCommit } from "./group-commit.ts";

export interface TakenReport extends GatewayReport, GatewayWindows {}

export interface ReportIntake {
  /** Resolves when it is durable. */
  add(report: TakenReport): Promise<void>;
  /** Resolves when what waited is answered. */
  close(): Promise<void>;
}

/** A report may come this much later: a fleet's cost is mostly its reports, and a transaction for each was most of it. */
const GATHER_MS = 100;
const BYTES = { episode: 1_000, window: 300, device: 100, statistics: 4_000, rest: 2_000 };
const LIMITS = { maxItems: 20_000, maxBytes: 64 * 1024 * 1024, batchItems: 256, batchBytes: 4 * 1024 * 1024 };

type Outcome = { readonly error: Error } | null;

export function openReportIntake(
  gateways: Pick<GatewayStore, "addReports">,
  analytics: Pick<AnalyticsStore, "addWindows">,
): ReportIntake {
  const store = async (reports: readonly TakenReport[]) => {
    await gateways.addReports(reports);
    await analytics.addWindows(reports);
  };

  /** What the database can't take of one report is not to hurt the others. */
  const write = async (reports: readonly TakenReport[]): Promise<Outcome[]> => {
    try {
      await store(reports);
      return reports.map(() => null);
    } catch (error) {
      if (!isOfTheData(error as Error)) throw error;
      if (reports.length === 1) return [{ error: error as Error }];
      const half = reports.length >> 1;
      return [...(await write(reports.slice(0, half))), ...(await write(reports.slice(half)))];
    }
  };

  const queue = new GroupCommit<TakenReport, Outcome>({
    limits: LIMITS,
    writers: 1,
    gatherMs: GATHER_MS,
    bytesOf,
    write: async (reports) => {
      const outcomes: Outcome[] = [];
      for (const part of onceAGateway(reports)) outcomes.push(...(await write(part)));
      return outcomes;
    },
  });

  return {
    add: async (report) => {
      if (!queue.hasRoomFor(report)) throw new Error("too many reports wait for their commit");
      const outcome = await queue.add(report);
      if (outcome !== null) throw outcome.error;
    },
    close: () => queue.settled(),
  };
}

function bytesOf({ episodes, windows, cohorts, statistics }: TakenReport): number {
  const devices = cohorts.reduce((sum, held) => sum + held.devices.length, 0);
  const lists = episodes.length * BYTES.episode + windows.length * BYTES.window + devices * BYTES.device;
  return lists + statistics.length * BYTES.statistics + BYTES.rest;
}

/** Cut where a gateway comes a second time, after a reconnection: what it said last is to stand. */
function onceAGateway(reports: readonly TakenReport[]): TakenReport[][] {
  const parts: TakenReport[][] = [];
  let gateways = new Set<string>();
  for (const report of reports) {
    const part = parts.at(-1);
    if (part === undefined || gateways.has(report.gatewayId)) {
      parts.push([report]);
      gateways = new Set();
    } else part.push(report);
    gateways.add(report.gatewayId);
  }
  return parts;
}
