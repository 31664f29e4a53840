import { spawnSync } from "node:child_process";
import { expect, test } from "vitest";
import { describeReport, targets } from "../../bench/agent/report.ts";
import { runBench } from "../../bench/agent/run.ts";

const BENCH_MS = 300_000;
const PATH = `${process.env.PATH}:/usr/sbin:/usr/local/sbin`;
const hasMosquitto = spawnSync("mosquitto", ["-h"], { env: { PATH } }).error === undefined;

const TINY = {
  devices: 50,
  floodMs: 1_000,
  alertDevices: 60,
  raised: 5,
  steadyPerSecond: 1_000,
  manyDevices: 5,
  idleMs: 500,
};

test.skipIf(!hasMosquitto)(
  "the benchmark in small: every figure is measured or missing, and each device that misbehaves is told of",
  async () => {
    const report = await runBench(TINY, false, () => undefined);
    expect(report.failures).toEqual([]);
    expect(report.flood.map(({ subject }) => subject)).toEqual([
      "agent, cohort's model",
      "agent, its own detectors",
      "mqtt.js that only counts",
    ]);
    for (const { subject, perSecond } of report.flood) expect(perSecond, subject).toBeGreaterThan(0);
    expect(report.alerts).toMatchObject({ alerts: 5, silent: 0 });
    expect(report.memory?.devices).toBe(5);
    const text = describeReport(report);
    expect(text).not.toMatch(/NaN|Infinity|undefined|null/);
    const met = new Map(targets(report).map(({ what, met: is }) => [what, is]));
    expect(met.get("2,000 devices × 8 channels"), "another number of devices").toBeNull();
  },
  BENCH_MS,
);
