import { join } from "node:path";
import { expect, onTestFinished, test } from "vitest";
import { SqliteStore } from "../../agent/adapters/sqlite-store.ts";
import { Cohort } from "../../agent/cohort.ts";
import { Device, type Judged } from "../../agent/core/device.ts";
import { Episodes } from "../../agent/episodes.ts";
import { compilePlan } from "../../learning/compile-plan.ts";
import { type CohortId, deviceId, type GatewayId } from "../../learning/ids.ts";
import type { PlanSettings } from "../../learning/plan.ts";
import { seededRandom } from "../../learning/random.ts";
import { isRefusal } from "../../learning/telemetry/refusal.ts";
import { featuresOf, JUDGING, TRAINING } from "../support/plan-settings.ts";
import { StillClock } from "../support/still-clock.ts";
import { temporaryFolder } from "../support/temp.ts";

const folder = temporaryFolder("agent-ladder");

const CHANNELS = [
  { name: "flow", unit: "l/min" },
  { name: "pressure", unit: "bar" },
];

const manifestOf = (channels: PlanSettings["channels"]) =>
  compilePlan({
    channels,
    commissioningRows: 10,
    ...JUDGING,
    features: featuresOf({ kind: "window", rows: 1 }),
    model: { kind: "dense_autoencoder", hidden: [1] },
    training: TRAINING,
    threshold: { rule: { kind: "quantile", quantile: 0.99 }, rows: 30 },
  }).manifest;

function judge(device: Device, [flow, pressure]: readonly [number, number], second: number): Judged {
  const atMs = second * 1000;
  const values = new Map([
    ["flow", flow],
    ["pressure", pressure],
  ]);
  device.serveBy(device.ownKind);
  const entered = device.enter({
    deviceId: device.deviceId,
    atMs,
    receivedAtMs: atMs,
    units: new Map(),
    values,
    label: null,
  });
  if (isRefusal(entered)) throw new Error(entered.detail);
  return device.judgeByOwnRows(entered);
}

/** Rows of one device, one a second, as the cohort's ladder has them judged. */
class Line {
  device: Device;
  #second = 0;
  readonly #random = seededRandom(11);

  constructor(device = new Device(deviceId("pump-1"), CHANNELS)) {
    this.device = device;
  }

  good(): [number, number] {
    const load = this.#random.normal();
    return [10 + load, 4 + 0.3 * load + 0.1 * this.#random.normal()];
  }

  judge(values: readonly [number, number]): Judged {
    return judge(this.device, values, this.#second++);
  }

  run(rows: number): Judged[] {
    return Array.from({ length: rows }, () => this.judge(this.good()));
  }
}

function lineWithForest(): Line {
  const line = new Line();
  line.device.growForest();
  return line;
}

test("nothing is said of 30 rows, the z-score judges the 31st, and the forest those after the 256th", () => {
  const line = lineWithForest();
  expect(line.run(30).every(({ observation }) => observation === null)).toBe(true);
  expect(line.judge(line.good()).observation?.threshold).toBe(5);
  line.run(224);
  expect(line.device.ownKind).toBe("z_score");
  expect(line.judge(line.good()).observation?.threshold).toBe(5);
  expect(line.device.ownKind).toBe("isolation_forest");
  const { observation } = line.judge(line.good());
  expect(line.device.kind).toBe("isolation_forest");
  expect(observation?.threshold).toBeGreaterThanOrEqual(0.6);
  expect(observation?.threshold).toBeLessThan(1);
});

test("rows of a z-score alarm do not count among the forest's 256", () => {
  const line = lineWithForest();
  line.run(100);
  for (let row = 0; row < 10; row++) line.judge([1000 + 100 * row, 4]);
  line.run(60); // the alarm clears within them
  line.run(96);
  expect(line.device.ownKind).toBe("z_score");
  line.run(90);
  expect(line.device.ownKind).toBe("isolation_forest");
});

test("the forest raises an alarm for what is far from its rows, names the channel, and clears when it is over", () => {
  const line = lineWithForest();
  line.run(300);
  const strange = [1, 2, 3].map(() => line.judge([30, 4]).observation);
  expect(strange.map((seen) => seen?.active)).toEqual([false, false, true]);
  const [first] = strange[2]?.contributors ?? [];
  expect(first).toMatchObject({ channel: "flow", value: 30, unit: "l/min" });
  expect(first?.share).toBeGreaterThan(0.9);
  expect(first?.expected[0]).toBeGreaterThan(4);
  expect(first?.expected[1]).toBeLessThan(16);
  expect(strange[2]?.confidence).toBeGreaterThan(0.95);
  expect(line.run(120).at(-1)?.observation?.active).toBe(false);
});

test("a change that lasts becomes normal: the forest is grown anew", () => {
  const line = lineWithForest();
  line.run(300);
  const shifted = (): [number, number] => {
    const [flow, pressure] = line.good();
    return [flow + 8, pressure + 3];
  };
  const share = (rows: number) =>
    Array.from({ length: rows }, () => line.judge(shifted()).observation).filter((seen) => seen?.over).length / rows;
  expect(share(100)).toBeGreaterThan(0.5);
  share(1500);
  expect(share(100)).toBeLessThan(0.05);
});

test("after a restart scores and alarms are the same to the bit, across the next growth too", () => {
  const line = lineWithForest();
  line.run(400);
  line.judge([30, 4]);
  const again = Device.restore(structuredClone(line.device.record()), null);
  const rows = Array.from({ length: 600 }, (_, row) => (row < 3 ? ([30, 4] as const) : line.good()));
  const judgeAll = (device: Device) => rows.map((values, row) => judge(device, values, 1000 + row));
  const restored = judgeAll(again);
  expect(restored).toEqual(judgeAll(line.device));
  expect(restored.some(({ observation }) => observation?.active)).toBe(true);
});

test("rows that never vary grow no forest: the z-score stays", () => {
  const line = lineWithForest();
  for (let row = 0; row < 600; row++) line.judge([10, 4]);
  expect(line.device.ownKind).toBe("z_score");
  const seen = [1, 2, 3].map(() => line.judge([11, 4]).observation);
  expect(seen.at(-1)?.active).toBe(true);
});

test("a device without a place for a forest stays with the z-score", () => {
  const line = new Line();
  line.run(600);
  expect(line.device.ownKind).toBe("z_score");
  expect(line.device.record()).toMatchObject({ growsForest: false, forest: null });
});

test("a cohort asks for a place once a device, and again after a restart only for those that had one", () => {
  const asked: string[] = [];
  const openCohort = () =>
    new Cohort("pumps" as CohortId, 0, (device) => {
      asked.push(device);
      return device === "pump-1";
    });
  const cohort = openCohort();
  for (const name of ["pump-1", "pump-2", "pump-1"]) cohort.keep(new Device(deviceId(name), CHANNELS));
  expect(asked).toEqual(["pump-1", "pump-2"]);
  openCohort().restore(null, cohort.records(), () => expect.unreachable());
  expect(asked).toEqual(["pump-1", "pump-2", "pump-1"]);
});

test("a plan with the device's channels leaves the forest in place; the champion takes over and lets it go", () => {
  const line = lineWithForest();
  line.run(300);
  line.device.adoptPlan(manifestOf(CHANNELS));
  expect(line.device.kind).toBe("isolation_forest");
  line.run(1);
  line.device.serveBy("federated");
  expect(line.device.kind).toBe("federated");
  expect(line.device.record().forest).toBeNull();
  line.device.adoptPlan(manifestOf(CHANNELS.slice(0, 1)));
  expect(line.device.kind).toBe("z_score");
  expect(line.device.ownKind).toBe("z_score");
});

test("when the forest takes over, the z-score's episode is cleared", () => {
  const told: string[] = [];
  const store = new SqliteStore(join(folder, "agent.sqlite"), { nowMs: 0 });
  onTestFinished(() => store.close());
  const episodes = new Episodes({
    store,
    origin: { site: "north", gatewayId: "gw-1" as GatewayId, alertPrefix: null },
    devices: () => 1,
    newId: () => "id",
    clock: new StillClock(),
    onTransition: ({ kind, state }) => told.push(`${kind} ${state}`),
  });
  const seen = (active: boolean) => ({
    atMs: 0,
    active,
    over: active,
    score: 9,
    threshold: 5,
    ruleThreshold: null,
    confidence: 1,
    contributors: [],
    missing: [],
  });
  const row = { atMs: 0, receivedAtMs: 0, record: () => new Device(deviceId("pump-1"), CHANNELS).record() };
  const subject = { deviceId: deviceId("pump-1"), cohort: "pumps" as CohortId, globalVersion: 0, localSteps: 0 };
  episodes.observe({ ...subject, kind: "z_score" }, seen(true), row);
  episodes.observe({ ...subject, kind: "isolation_forest" }, seen(true), row);
  episodes.observe({ ...subject, kind: "federated" }, seen(false), row);
  expect(told).toEqual(["z_score active", "z_score cleared", "isolation_forest active", "isolation_forest cleared"]);
});
