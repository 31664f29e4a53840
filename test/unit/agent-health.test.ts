import { expect, test } from "vitest";
import { ailments, type HealthFacts } from "../../agent/core/health.ts";
import { prometheusText } from "../../runtime/prometheus.ts";

const NOW_MS = 10_000_000;
const healthy: HealthFacts = { intake: null, unjudgedSinceMs: null, loopLagMs: 20, unwritable: [] };
const reasons = (facts: Partial<HealthFacts>) => ailments({ ...healthy, ...facts }, NOW_MS).map(({ reason }) => reason);

/** Messages so far apart, the last one so long ago. */
const messagesEvery = (pauseMs: number, agoMs: number) => ({
  messages: 11,
  firstAtMs: NOW_MS - agoMs - 10 * pauseMs,
  lastAtMs: NOW_MS - agoMs,
});

test("an agent that never heard a sensor is healthy, one whose sensors fell silent is not", () => {
  expect(reasons({ intake: null })).toEqual([]);
  expect(reasons({ intake: messagesEvery(1_000, 299_000) })).toEqual([]);
  expect(reasons({ intake: messagesEvery(1_000, 301_000) })).toEqual(["no_readings"]);
  expect(reasons({ intake: { messages: 1, firstAtMs: 0, lastAtMs: 0 } })).toEqual(["no_readings"]);
});

test("sensors that speak every ten minutes are silent after twenty such pauses", () => {
  expect(reasons({ intake: messagesEvery(600_000, 3_600_000) })).toEqual([]);
  expect(reasons({ intake: messagesEvery(100_000, 2_100_000) })).toEqual(["no_readings"]);
});

test("rows that wait half a minute, a loop that stood still and a store that is full are named", () => {
  expect(reasons({ unjudgedSinceMs: NOW_MS - 29_000 })).toEqual([]);
  expect(reasons({ unjudgedSinceMs: NOW_MS - 31_000, loopLagMs: 6_000, unwritable: ["summaries"] })).toEqual([
    "rows_not_judged",
    "loop_lag",
    "store_not_writable",
  ]);
  expect(ailments({ ...healthy, unwritable: ["summaries", "updates"] }, NOW_MS)[0]?.detail).toContain(
    "summaries, updates",
  );
});

test("figures are Prometheus text; what was not measured is left out and labels are escaped", () => {
  const text = prometheusText([
    { name: "rows_total", type: "counter", help: "Rows.", value: 3 },
    { name: "flash_bytes", type: "gauge", help: "Flash.", value: null },
    { name: "refused_total", type: "counter", help: "Refused.", value: { label: "kind", of: [['a"b', 1]] } },
  ]);
  expect(text).toBe(
    [
      "# HELP rows_total Rows.",
      "# TYPE rows_total counter",
      "rows_total 3",
      "# HELP flash_bytes Flash.",
      "# TYPE flash_bytes gauge",
      "# HELP refused_total Refused.",
      "# TYPE refused_total counter",
      'refused_total{kind="a\\"b"} 1',
      "",
    ].join("\n"),
  );
});
