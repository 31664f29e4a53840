// What the default plan is to reach on SKAB, beside what was measured.
import { type Target, target } from "../table.ts";
import type { TableRow } from "./table.ts";

const GROUP = "valve1";

const percent = (share: number) => `${(100 * share).toFixed(1)} %`;
const digits = (count: number) => (value: number) => value.toFixed(count);

/** Of a table with the group valve1; `regime`, `rule` and `codec` name the rows as the table does. */
export function targets(rows: readonly TableRow[]): Target[] {
  const find = (regime: string, codec: string | null, group = GROUP, rule: string | null = "multi_krum") =>
    rows.find((row) => row.regime === regime && row.codec === codec && row.group === group && row.rule === rule);
  const plan = find("federated", "int8");
  const free = find("federated", "int8", "anomaly-free");
  const f1Of = (row: TableRow | undefined) => row?.f1 ?? null;
  const behind = (better: TableRow | undefined, worse: TableRow | undefined) => difference(f1Of(better), f1Of(worse));
  const exact = find("federated", "float32");
  const liars = rows.find(
    ({ regime, rule, group }) => regime.includes("lie") && rule === "multi_krum" && group === GROUP,
  );
  const sparse = rows.filter(({ codec, group }) => codec?.startsWith("top_k_int8") && group === GROUP);
  return [
    target("row F1, federated", "≥ .90", f1Of(plan), (f1) => f1 >= 0.9, digits(3)),
    target("false alarms, federated", "≤ 10 % of rows", plan?.falseAlarmRate, (rate) => rate <= 0.1, percent),
    target("events found by an alarm that begins in them", "all", plan?.eventRecall, (share) => share === 1, percent),
    target(
      "events with an alarm up, whenever it began",
      "all",
      plan?.eventsUnderAlarm,
      (share) => share === 1,
      percent,
    ),
    target("event precision", "≥ .9", plan?.eventPrecision, (share) => share >= 0.9, digits(2)),
    target("median delay", "≤ 15 s", plan?.eventDelayMedianS, (seconds) => seconds <= 15, digits(1)),
    target("anomaly-free file: rows over", "≤ 5 %", free?.falseAlarmRate, (rate) => rate <= 0.05, percent),
    target("anomaly-free file: episodes", "≤ 2", free?.episodes, (episodes) => episodes <= 2, digits(1)),
    target(
      "F1 above centralised",
      "≥ −.005",
      behind(plan, find("centralised", null, GROUP, null)),
      (d) => d >= -0.005,
      digits(3),
    ),
    target("F1 above local", "≥ .02", behind(plan, find("local", null, GROUP, null)), (d) => d >= 0.02, digits(3)),
    target("F1 lost by int8", "≤ .003", behind(exact, plan), (loss) => loss <= 0.003, digits(3)),
    target("bytes of float32 for one of int8", "about 4", share(exact, plan), (times) => times >= 3.8, digits(1)),
    ...sparse.flatMap((row) => [
      target(`F1 lost by ${row.codec}`, "≤ .01", behind(exact, row), (loss) => loss <= 0.01, digits(3)),
      target(`bytes of float32 for one of ${row.codec}`, "≥ 20", share(exact, row), (times) => times >= 20, digits(1)),
    ]),
    target(
      "F1 lost to a fifth of ×5 sign-flipping gateways",
      "≤ .015",
      behind(plan, liars),
      (loss) => loss <= 0.015,
      digits(3),
    ),
  ];
}

const difference = (a: number | null, b: number | null) => (a === null || b === null ? null : a - b);

function share(whole: TableRow | undefined, part: TableRow | undefined): number | null {
  if (!whole?.bytesPerUpdate || !part?.bytesPerUpdate) return null;
  return whole.bytesPerUpdate / part.bytesPerUpdate;
}
