// What the coordinator is to reach on two cores, load generator included, beside what was measured.
import { type Target, target } from "../table.ts";
import type { Encoding, Size } from "./cohorts.ts";
import { median } from "./growth.ts";
import type { BenchReport } from "./run.ts";
import { FULL } from "./sizes.ts";

const digits =
  (count: number, unit = "") =>
  (value: number) =>
    value.toLocaleString("en", { minimumFractionDigits: count, maximumFractionDigits: count }) + unit;

/** Null where either is missing. */
const ratio = (a: number | null | undefined, b: number | null | undefined) => (a == null || !b ? null : a / b);

/** Of a smaller run only what does not depend on its size. */
export function targets(report: BenchReport): Target[] {
  const { rows, growth, sessions, fleet, replicas, sizes } = report;
  const full = <Value>(value: Value, like: (sizes: BenchReport["sizes"]) => unknown): Value | null =>
    String(like(sizes)) === String(like(FULL)) ? value : null;
  const find = (size: Size, encoding: Encoding) =>
    rows.find((row) => row.size === size && row.encoding === encoding) ?? null;
  const rate = (size: Size, encoding: Encoding) => find(size, encoding)?.updatesPerSecond;
  const most = (values: readonly (number | null)[]) =>
    values.length > 0 && values.every((value) => value !== null) ? Math.max(...(values as number[])) : null;
  const open = sessions?.rows ?? [];
  const [first, last] = [open[0], open.at(-1)];
  const delivery = median((fleet?.bursts ?? []).map(({ afterLastAcknowledgementMs }) => afterLastAcknowledgementMs));
  const two = replicas?.two ? (replicas.two[0] + replicas.two[1]) / replicas.one : null;
  const [before, after] = [growth?.firstMb ?? null, growth?.lastMb ?? null];
  const grown = before === null || after === null ? null : after - before;
  const books = [...rows, fleet, replicas].map((part) => part?.booksAgree ?? null);
  const agree = books.includes(false) ? 0 : books.includes(null) ? null : 1;
  const byGateways = <Value>(value: Value) => full(value, ({ gateways }) => gateways);
  const allOpen = last?.sessions === FULL.sessions.at(-1);
  const bySessions = <Value>(value: Value) => (allOpen ? full(value, (of) => of.sessions) : null);
  const byFleet = <Value>(value: Value) => full(value, (of) => of.fleet);
  const rss = most(rows.map(({ memory }) => memory?.peakMb ?? null));
  return [
    target("updates/s, 1,249 parameters, int8", "≥ 3,000", rate("small", "int8"), (v) => v >= 3000, digits(0)),
    target("updates/s, 25,014 parameters, int8", "≥ 1,900", rate("large", "int8"), (v) => v >= 1900, digits(0)),
    target("updates/s, 25,014 parameters, float32", "≥ 600", rate("large", "float32"), (v) => v >= 600, digits(0)),
    target(
      "coordinator's CPU a small update",
      "≤ 0.25 ms",
      find("small", "int8")?.coordinatorCpuMs,
      (v) => v <= 0.25,
      digits(3, " ms"),
    ),
    target("peak RSS at 1,000 gateways, any size", "≤ 200 MB", byGateways(rss), (v) => v <= 200, digits(0, " MB")),
    target("RSS a session, of 5,000", "≤ 100 KB", bySessions(last?.kbASession), (v) => v <= 100, digits(0, " KB")),
    target(
      "CPU an update with 5,000 sessions, of that with 100",
      "flat (≤ 1.25)",
      bySessions(ratio(last?.cpuMsAnUpdate, first?.cpuMsAnUpdate)),
      (v) => v <= 1.25,
      digits(2, " ×"),
    ),
    target(
      "RSS a session of 5,000, of that of 1,000",
      "flat (≤ 1.25)",
      bySessions(ratio(last?.kbASession, open.at(-2)?.kbASession)),
      (v) => v <= 1.25,
      digits(2, " ×"),
    ),
    target(
      "2,407 gateways at an update a minute",
      "≤ 10 % of a core",
      byFleet(fleet?.coordinatorPercent),
      (v) => v <= 10,
      digits(1, " %"),
    ),
    target(
      "20 updates → champion at all 2,407 (median)",
      "≤ 2,000 ms",
      fleet?.burstsLost === 0 ? byFleet(delivery) : null,
      (v) => v <= 2000,
      digits(0, " ms"),
    ),
    target("two replicas carry, of what one does", "> 1", two, (v) => v > 1, digits(2, " ×")),
    target("memory gained under a lasting load", "none (≤ 10 MB)", grown, (v) => v <= 10, digits(1, " MB")),
    target(
      "acknowledged is stored, row for row",
      "always",
      agree,
      (v) => v === 1,
      (v) => (v ? "yes" : "no"),
    ),
  ];
}
