// The benchmark's figures as tables.
import { aligned, targetTable } from "../table.ts";
import type { FleetFigures } from "./fleet.ts";
import { MEASURED_ELSEWHERE } from "./flower.ts";
import type { Growth } from "./growth.ts";
import type { ReplicaFigures } from "./replicas.ts";
import type { BenchReport } from "./run.ts";
import type { SessionsFigures } from "./sessions.ts";
import { targets } from "./targets.ts";
import type { ThroughputRow } from "./throughput.ts";

const number = (value: number | null | undefined, digits = 0) =>
  value === null || value === undefined
    ? "–"
    : value.toLocaleString("en", { minimumFractionDigits: digits, maximumFractionDigits: digits });

const books = (agree: boolean | null) => (agree === null ? "open" : agree ? "agree" : "DIFFER");

export function describeReport(report: BenchReport): string {
  const { machine, sizes, rows, growth, sessions, fleet, replicas, failures, seconds } = report;
  const parts = [
    `${machine.cores} cores (${machine.model}), load average ${number(machine.loadBefore, 1)} before it began, ` +
      `ulimit -n ${machine.openFiles ?? "unknown"}; all of it took ${number(seconds)} s`,
    `Updates as fast as they are acknowledged, ${number(sizes.gateways)} gateways with one in flight each, durable commits,` +
      "\nrounds of 1,000 updates by plain means; CPU in milliseconds an update, bytes by the load generator's sockets:",
    throughputTable(rows),
    "The floors of the same bytes in the same run (a bare gRPC echo; a bare insert, 100 rows a statement):",
    floorTable(rows),
    "Measured elsewhere, not in this run, for comparison (updates of 5 KB and 100 KB, plain text, two cores):",
    elsewhereTable(),
    sessions && `Open sessions, the first of them sending, the others idle:\n\n${sessionsTable(sessions)}`,
    fleet && fleetLines(fleet),
    growth && growthLine(growth),
    replicas && replicasLine(replicas),
    failures.length > 0 ? `Not measured:\n${failures.join("\n")}` : null,
    targetTable(targets(report)),
  ];
  return parts.filter((part) => part !== null).join("\n\n");
}

function throughputTable(rows: readonly ThroughputRow[]): string {
  const heading = [
    ...[
      "parameters",
      "encoding",
      "updates/s",
      "coordinator CPU",
      "PostgreSQL CPU",
      "generator CPU",
      "RSS MB",
      "peak MB",
    ],
    ...["p50 ms", "p99 ms", "bytes sent", "received", "rounds", "refused", "retry", "books"],
  ];
  const body = rows.map((row) => [
    ...[number(row.parameters), row.encoding, number(row.updatesPerSecond)],
    ...[row.coordinatorCpuMs, row.postgresCpuMs, row.generatorCpuMs].map((ms) => number(ms, 3)),
    ...[row.memory?.rssMb, row.memory?.peakMb, row.latencyMs?.p50, row.latencyMs?.p99].map((value) => number(value)),
    ...[row.bytesSent, row.bytesReceived, row.rounds, row.refused, row.toldToRetry].map((value) => number(value)),
    books(row.booksAgree),
  ]);
  return aligned([heading, ...body]);
}

function floorTable(rows: readonly ThroughputRow[]): string {
  const heading = [
    ...["parameters", "encoding", "echo/s", "echo CPU ms", "inserts/s", "PostgreSQL CPU ms"],
    ...["updates/echo", "updates/inserts", "CPU/echo", "PostgreSQL CPU/insert"],
  ];
  const ratio = (a: number | null, b: number | null) => (a === null || !b ? null : a / b);
  const body = rows.map(({ echo, insert, ...row }) => [
    ...[number(row.parameters), row.encoding, number(echo.perSecond), number(echo.serverCpuMs, 3)],
    ...[number(insert.perSecond), number(insert.serverCpuMs, 3)],
    ...[
      ratio(row.updatesPerSecond, echo.perSecond),
      ratio(row.updatesPerSecond, insert.perSecond),
      ratio(row.coordinatorCpuMs, echo.serverCpuMs),
      ratio(row.postgresCpuMs, insert.serverCpuMs),
    ].map((value) => number(value, 2)),
  ]);
  return aligned([heading, ...body]);
}

const elsewhereTable = () =>
  aligned([
    ["server", "5 KB updates/s", "100 KB updates/s", "CPU ms an update", "RSS MB at 1,000 clients"],
    ...MEASURED_ELSEWHERE.map(({ server, small, large, cpuMs, rssMb }) => [server, small, large, cpuMs, rssMb]),
  ]);

function sessionsTable({ rows, leftOut }: SessionsFigures): string {
  const heading = [
    "sessions",
    "RSS MB",
    "KB a session",
    "idle, % of a core",
    "CPU ms an update",
    "updates/s",
    "opened in s",
  ];
  const body = rows.map((row) => [
    ...[number(row.sessions), number(row.rssMb), number(row.kbASession), number(row.idlePercent, 1)],
    ...[number(row.cpuMsAnUpdate, 3), number(row.updatesPerSecond), number(row.openSeconds, 1)],
  ]);
  return aligned([heading, ...body]) + (leftOut === null ? "" : `\n${leftOut}`);
}

function fleetLines(fleet: FleetFigures): string {
  const { bursts, latencyMs } = fleet;
  const after = bursts.map(({ afterLastAcknowledgementMs }) => number(afterLastAcknowledgementMs)).join(", ");
  const closed = bursts.map(({ afterCloseMs }) => number(afterCloseMs)).join(", ");
  return [
    `${number(fleet.gateways)} gateways, an update a minute and a report every 30 s each, rounds as by default (20 updates, Multi-Krum):`,
    `  ${number(fleet.updatesPerSecond, 1)} updates/s, ${number(fleet.reportsPerSecond)} reports/s, ${number(fleet.championsPerSecond)} champions/s delivered`,
    `  coordinator ${number(fleet.coordinatorPercent, 1)} % of a core and ${number(fleet.rssMb)} MB, PostgreSQL ${number(fleet.postgresPercent, 1)} %`,
    `  acknowledged after p50 ${number(latencyMs?.p50, 1)} ms, p99 ${number(latencyMs?.p99, 1)} ms; books ${books(fleet.booksAgree)}`,
    `  coordinator's CPU: ${number(fleet.cpuMsAReport, 3)} ms a report, ${number(fleet.cpuMsADelivery, 3)} ms a champion delivered`,
    `20 updates → champion at all of them, ms after the 20th acknowledgement: ${after || "–"} (${closed || "–"} after the round's close)` +
      (fleet.burstsLost > 0 ? `; ${fleet.burstsLost} did not reach all` : ""),
  ].join("\n");
}

const growthLine = ({ seconds, updatesPerSecond, firstMb, lastMb }: Growth) =>
  `Memory under ${number(updatesPerSecond)} updates/s for ${number(seconds)} s: ${number(firstMb, 1)} MB in the first third, ${number(lastMb, 1)} MB in the last`;

function replicasLine({ one, two, refused }: ReplicaFigures): string {
  const first = `One coordinator on a PostgreSQL of its own: ${number(one)} updates/s`;
  if (two === null) return `${first}; there is no second: ${refused}`;
  const [a, b] = two;
  return `${first}; two on the same: ${number(a + b)} (${number(a)} and ${number(b)}), ${number((a + b) / one, 2)} ×`;
}
