// What reports that wait for their commit may take of memory.
import { expect, test } from "vitest";
import { openReportIntake, type TakenReport } from "../../coordinator/adapters/report-intake.ts";
import { gatewayId } from "../../learning/ids.ts";

const never = () => new Promise<never>(() => undefined);
const DEVICES = Array.from({ length: 2_000 }, (_, n) => `device-${n}`);

/** Of a gateway with as many cohorts and devices as it may name. */
const largest = (n: number): TakenReport => ({
  gatewayId: gatewayId(`gw-${n}`),
  episodes: [],
  cohorts: Array.from({ length: 64 }, (_, nth) => ({
    cohort: `cohort-${nth}`,
    planId: "",
    globalVersion: 1,
    devices: DEVICES,
  })),
  statistics: [],
  health: null,
  windows: [],
});

test("devices that reports name count, and beyond its room a report is refused", async () => {
  const intake = openReportIntake({ addReports: never }, { addWindows: never });
  const refused: number[] = [];
  for (let n = 0; n < 20; n++) intake.add(largest(n)).catch(() => refused.push(n));
  await new Promise((resolve) => setImmediate(resolve));
  expect(refused).toEqual(Array.from({ length: 15 }, (_, n) => n + 5));
});
