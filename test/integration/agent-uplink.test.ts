import { join } from "node:path";
import Database from "better-sqlite3";
import { expect, onTestFinished, test } from "vitest";
import { GrpcLink } from "../../agent/adapters/grpc-link.ts";
import { SqliteStore } from "../../agent/adapters/sqlite-store.ts";
import { Uplink } from "../../agent/uplink.ts";
import { cohortId, gatewayId, planId, updateId } from "../../learning/ids.ts";
import { eventually } from "../support/eventually.ts";
import { feedback, ScriptedCoordinator } from "../support/scripted-coordinator.ts";
import { temporaryFolder } from "../support/temp.ts";

const HEALTH = {
  rows: 0,
  rowsRefused: 0,
  updatesTrained: 0,
  samplesTrained: 0,
  outboxBytes: 0,
  outboxDropped: 0,
  rssBytes: 0,
  windowsDropped: 0,
  quarantinedFiles: 0,
  storeBytes: 0,
  flashWrittenToday: null,
  carriedToday: 0,
  withheld: [],
};
const UPDATE = {
  updateId: updateId(`01${"0".repeat(24)}`),
  cohort: cohortId("pumps"),
  planId: planId("0".repeat(64)),
  baseVersion: 1,
  localSteps: 1,
  samples: 50,
  loss: 0.5,
  encoding: "float32" as const,
  delta: new Uint8Array(4),
  roundId: null,
};

/** An uplink that reports only what it is asked for, with a clock that the test sets. */
async function openUplink(coordinator: ScriptedCoordinator) {
  const path = join(temporaryFolder("agent-uplink"), "agent.sqlite");
  const store = new SqliteStore(path, { nowMs: 0 });
  const link = new GrpcLink([{ host: "127.0.0.1", port: coordinator.port }], Date.now, Math.random);
  const clock = { nowMs: 1_000_000 };
  const failures: string[] = [];
  const budget = { spent: false };
  const stop = new AbortController();
  let reports = 0;
  const report = (asked: boolean) => {
    store.alerts.unreported(1);
    return asked
      ? {
          report: {
            reportId: `r${++reports}`,
            clock: "synced" as const,
            episodes: [],
            health: HEALTH,
            cohorts: [],
            statistics: [],
            summaries: [],
          },
          answered: () => undefined,
        }
      : null;
  };
  const uplink = new Uplink({
    link,
    store,
    nowMs: () => clock.nowMs,
    random: () => 0,
    handlers: {
      hello: () => ({ gatewayId: gatewayId("gw-1"), agentVersion: "1", site: "north", cohorts: [] }),
      report,
      planChanged: () => undefined,
      globalModel: async () => undefined,
      feedback: () => Promise.reject(new Error("disk full")),
      invitation: () => undefined,
      updatesWait: () => budget.spent,
      modelCommand: async () => undefined,
      sessionChanged: () => undefined,
      problem: () => undefined,
      storeFailed: ({ message }) => failures.push(message),
    },
  });
  const running = uplink.run(stop.signal);
  onTestFinished(async () => {
    stop.abort();
    await running;
    link.close();
    store.close();
  });
  const reported = (count: number) =>
    eventually(`report ${count}`, () => {
      const ids = coordinator.said("report").map(({ reportId }) => reportId);
      return ids.length >= count ? ids : undefined;
    });
  return { uplink, store, path, clock, budget, failures, reported };
}

async function openCoordinator(): Promise<ScriptedCoordinator> {
  const coordinator = await ScriptedCoordinator.start();
  onTestFinished(() => coordinator.close());
  return coordinator;
}

/** Statements by another hand, after which the agent's own fail. */
function spoil(path: string, sql: string): void {
  const other = new Database(path);
  other.exec(sql);
  other.close();
}

test("a report that is not answered is taken for lost after thirty seconds", async () => {
  const coordinator = await openCoordinator();
  coordinator.answersReports = false;
  const { uplink, clock, reported } = await openUplink(coordinator);
  await reported(1);
  clock.nowMs += 29_999;
  await uplink.report(true);
  clock.nowMs += 1;
  await uplink.report();
  expect(await reported(2)).toEqual(["r1", "r2"]);
});

test("a store that fails ends neither session nor process", async () => {
  const coordinator = await openCoordinator();
  const { uplink, store, path, failures, reported } = await openUplink(coordinator);
  await reported(1);
  spoil(path, "CREATE TRIGGER full BEFORE DELETE ON outbox BEGIN SELECT RAISE(ABORT, 'disk full'); END");
  store.learning.addUpdate(UPDATE, false);
  await uplink.wake();
  await eventually("the answered update that can't be removed", () => (failures.length > 0 ? true : undefined));
  coordinator.send(feedback("pumps", 2, 1));
  await eventually("the feedback that can't be kept", () => (failures.length > 1 ? true : undefined));
  spoil(path, "ALTER TABLE episodes RENAME TO gone");
  await uplink.report(true);
  expect(failures).toEqual(["disk full", "disk full", "no such table: episodes"]);
  spoil(path, "ALTER TABLE gone RENAME TO episodes");
  await uplink.report(true);
  await reported(2);
  expect(coordinator.hellos).toHaveLength(1);
  expect(coordinator.updates).toHaveLength(1);
  expect(store.learning.queuedUpdates(9)).toEqual([UPDATE.updateId]);
});

test("updates wait while the day's budget is spent, and go when it is not", async () => {
  const coordinator = await openCoordinator();
  const { uplink, store, budget, reported } = await openUplink(coordinator);
  budget.spent = true;
  await reported(1);
  store.learning.addUpdate(UPDATE, false);
  await uplink.wake();
  await uplink.report(true);
  await reported(2); // in the same session, after where the update would have been
  expect(coordinator.updates).toEqual([]);
  budget.spent = false;
  await uplink.wake();
  await eventually("the update", () => coordinator.updates[0]);
});
