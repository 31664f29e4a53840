import { existsSync } from "node:fs";
import { expect, test } from "vitest";
import { describeReport } from "../../bench/coordinator/report.ts";
import { runBench } from "../../bench/coordinator/run.ts";
import { FULL } from "../../bench/coordinator/sizes.ts";
import { targets } from "../../bench/coordinator/targets.ts";
import { cpuMsOf, cpuMsOfFamily, memoryOf } from "../../bench/process-figures.ts";

const BENCH_MS = 300_000;

const TINY = {
  ...FULL,
  gateways: 2,
  updates: [["large", "int8"]],
  sessions: [2, 4],
  fleet: 20,
  bursts: 1,
  warmMs: 200,
  measureMs: 600,
  floorMs: 300,
  idleMs: 200,
  fleetMs: 1_000,
  memoryMs: 3_000,
  steadyRate: 20,
} as const;

test(
  "the benchmark in small: what the fleets were told is stored is in the database, and every figure is measured or missing",
  async () => {
    const report = await runBench(TINY, () => undefined);
    expect(report.failures).toEqual([]);
    const { rows, sessions, fleet, replicas } = report;
    for (const row of rows) {
      expect(row).toMatchObject({ booksAgree: true, sessions: 2, refused: 0 });
      expect(row.updates).toBeGreaterThan(0);
      expect(row.echo.perSecond).toBeGreaterThan(0);
      expect(row.insert.perSecond).toBeGreaterThan(0);
    }
    const [large] = rows;
    expect(large).toMatchObject({ parameters: 25_014, deltaBytes: 25_014 + 4 * 4 });
    expect(large?.bytesSent).toBeGreaterThan(25_014);
    expect(sessions?.rows.map(({ sessions }) => sessions)).toEqual([2, 4]);
    expect(fleet).toMatchObject({ gateways: 20, booksAgree: true, burstsLost: 0 });
    expect(fleet?.bursts[0]?.afterLastAcknowledgementMs).toBeGreaterThan(0);
    expect(replicas).toMatchObject({ booksAgree: true, refused: null });
    expect(Math.min(...(replicas?.two ?? [0]), replicas?.one ?? 0)).toBeGreaterThan(0);

    const text = describeReport(report);
    expect(text).not.toMatch(/NaN|Infinity|undefined|null/);
    expect(text).toContain("Measured elsewhere, not in this run");
    const met = new Map(targets(report).map(({ what, met: is }) => [what, is]));
    expect(met.get("acknowledged is stored, row for row")).toBe(true);
    expect(met.get("updates/s, 1,249 parameters, int8"), "a row that was not run").toBeNull();
    expect(met.get("RSS a session, of 5,000"), "a fleet of another size").toBeNull();
  },
  BENCH_MS,
);

test.skipIf(!existsSync("/proc/self/stat"))("what a process takes is Linux's word, and null once it is gone", () => {
  const { user, system } = process.cpuUsage();
  expect(cpuMsOf(process.pid)).toBeGreaterThan(((user + system) / 1000) * 0.5);
  expect(cpuMsOfFamily(process.pid)).toBeGreaterThanOrEqual(Number(cpuMsOf(process.pid)) * 0.9);
  expect(memoryOf(process.pid)?.peakMb).toBeGreaterThanOrEqual(Number(memoryOf(process.pid)?.rssMb) * 0.9);
  const gone = 2 ** 22 + 1;
  expect([cpuMsOf(gone), cpuMsOfFamily(gone), memoryOf(gone)]).toEqual([null, null, null]);
});
