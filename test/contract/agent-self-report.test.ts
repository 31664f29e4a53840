import { join } from "node:path";
import { expect, onTestFinished, test } from "vitest";
import { SqliteStore } from "../../agent/adapters/sqlite-store.ts";
import { noBytes } from "../../agent/core/day-bytes.ts";
import { Ledger } from "../../agent/ledger.ts";
import { SelfReport } from "../../agent/self-report.ts";
import { cohortId, deviceId, gatewayId } from "../../learning/ids.ts";
import { StillClock } from "../support/still-clock.ts";
import { temporaryFolder } from "../support/temp.ts";

const folder = temporaryFolder("self-report");
let stores = 0;

function open() {
  const store = new SqliteStore(join(folder, `${++stores}.sqlite`), { nowMs: 0 });
  onTestFinished(() => store.close());
  const clock = new StillClock(1_000_000);
  const rows = { judged: 0, refused: 0, queued: 0 };
  const meter = { next: noBytes };
  let reports = 0;
  const self = new SelfReport({
    origin: { site: "north", gatewayId: gatewayId("gw-1"), alertPrefix: null },
    version: "1",
    cohorts: [],
    store,
    snoozed: () => [],
    ledger: new Ledger({
      store: store.ledger,
      meter: { take: () => meter.next },
      budgetBytes: 1_000,
      nowMs: () => clock.nowMs,
    }),
    rows: () => rows,
    newId: () => `r${++reports}`,
    clock,
  });
  return { store, clock, meter, self, rows };
}

/** Windows of `devices` devices that begin then. */
const summariesOf = (startMs: number, devices = 1, channels = 1) => ({
  cohort: cohortId("pumps"),
  windowMs: 30_000,
  channels: Array.from({ length: channels }, (_, channel) => `c${channel}`),
  windows: Array.from({ length: devices }, (_, device) => ({
    deviceId: deviceId(`pump-${device}`),
    startMs,
    anomaly: null,
    lateRows: 0,
    counts: new Uint32Array(channels),
    means: new Float64Array(channels),
    deviations: new Float32Array(channels),
    minima: new Float64Array(channels),
    maxima: new Float64Array(channels),
    last: new Float64Array(channels),
    z: new Float32Array(channels),
  })),
});

const startsIn = (report: ReturnType<SelfReport["report"]>) =>
  report?.report.summaries.map(({ windows }) => windows[0]?.startMs);

test("windows are told again until they are answered", () => {
  const { store, clock, self } = open();
  store.summaries.add([summariesOf(0), summariesOf(30_000)]);
  expect(startsIn(self.report(false))).toEqual([0, 30_000]);
  clock.nowMs += 5_000;
  const again = self.report(false);
  expect(startsIn(again)).toEqual([0, 30_000]);
  store.summaries.add([summariesOf(60_000)]);
  again?.answered();
  clock.nowMs += 5_000;
  expect(startsIn(self.report(false))).toEqual([60_000]);
});

test("rows are counted all the time: they alone are told every thirty seconds, and with whatever else is told", () => {
  const { store, clock, self, rows } = open();
  self.report(true)?.answered();
  rows.judged = 10;
  clock.nowMs += 29_999;
  expect(self.report(false)).toBeNull();
  clock.nowMs += 1;
  expect(self.report(false)?.report.health).toMatchObject({ rows: 10 });
  rows.judged = 20;
  store.summaries.add([summariesOf(0)]);
  expect(self.report(false)?.report.health).toMatchObject({ rows: 20 });
});

test("windows are a reason to report, and without them or anything else new there is none", () => {
  const { store, clock, self } = open();
  self.report(true)?.answered();
  expect(self.report(false)).toBeNull();
  store.summaries.add([summariesOf(0)]);
  const report = self.report(false);
  expect(startsIn(report)).toEqual([0]);
  report?.answered();
  clock.nowMs += 5_000;
  self.report(false); // what waits has changed
  expect(self.report(false)).toBeNull();
});

test("a backlog leaves at most a mebibyte in five seconds, whatever else is reported", () => {
  const { store, clock, self } = open();
  for (let entry = 0; entry < 10; entry++) store.summaries.add([summariesOf(entry * 30_000, 50, 64)]);
  const first = self.report(true);
  const told = startsIn(first)?.length ?? 0;
  expect(told).toBe(Math.floor((10 * 1024 * 1024) / store.outboxBytes().summaries));
  first?.answered();
  clock.nowMs += 4_999;
  expect(startsIn(self.report(true))).toEqual([]);
  clock.nowMs += 1;
  expect(startsIn(self.report(true))).toHaveLength(10 - told);
});

test("a spent budget holds windows back till the next day, and nothing but episodes is a reason to report", () => {
  const { store, clock, meter, self, rows } = open();
  store.summaries.add([summariesOf(0)]);
  meter.next = { ...noBytes, coordinatorSent: 1_000 };
  expect(self.report(true)?.report).toMatchObject({
    summaries: [],
    health: { carriedToday: expect.any(Number), withheld: ["summaries", "updates"] },
  });
  clock.nowMs += 60_000;
  rows.judged++;
  expect(self.report(false)).toBeNull();
  expect(JSON.parse(self.status("online").payload).data.today).toMatchObject({ withheld: ["summaries", "updates"] });
  meter.next = noBytes;
  clock.nowMs += 86_400_000;
  expect(startsIn(self.report(false))).toEqual([0]);
});
