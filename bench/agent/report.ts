// The benchmark's figures as tables, with what is wanted under them.
import { aligned, type Target, target, targetTable } from "../table.ts";
import type { AlertFigures } from "./alerts.ts";
import type { FloodRow } from "./flood.ts";
import type { MemoryFigures } from "./memory.ts";

export interface BenchReport {
  readonly machine: { readonly cores: number; readonly model: string; readonly loadBefore: number };
  readonly flood: readonly FloodRow[];
  readonly alerts: AlertFigures | null;
  readonly memory: MemoryFigures | null;
  /** What could not be measured, and why. */
  readonly failures: readonly string[];
}

const whole = (value: number) => Math.round(value).toLocaleString("en-US");
const shown = (value: number | null, digits = 0) => (value === null ? "not measured" : value.toFixed(digits));

export function targets({ flood, alerts, memory }: BenchReport): Target[] {
  const [model] = flood;
  const many = memory?.devices === 2_000 ? memory.devicesMb : null;
  const mb = (value: number) => `${value.toFixed(0)} MB`;
  return [
    target("messages a second, cohort's model, one core", "≥ 20,000", model?.perSecond, (is) => is >= 20_000, whole),
    target(
      "message to alert at 5,000 a second, p99",
      "≤ 20 ms",
      alerts?.p99Ms,
      (is) => is <= 20,
      (is) => `${is.toFixed(0)} ms`,
    ),
    target("2,000 devices × 8 channels", "≤ 150 MB", many, (is) => is <= 150, mb),
    target("idle", "≤ 85 MB", memory?.idleMb, (is) => is <= 85, mb),
  ];
}

export function describeReport(report: BenchReport): string {
  const { machine, flood, alerts, memory, failures } = report;
  const floor = flood.find(({ subject }) => subject.startsWith("mqtt.js"))?.perSecond;
  const rows = flood.map(({ subject, perSecond, cpuUs, rssMb, pinned }) => [
    subject,
    whole(perSecond),
    floor === undefined ? "–" : (perSecond / floor).toFixed(2),
    shown(cpuUs, 1),
    shown(rssMb),
    pinned ? "yes" : "no",
  ]);
  const parts = [
    `${machine.cores} cores (${machine.model}), load ${machine.loadBefore.toFixed(1)} before the run`,
    "",
    "A flood from mosquitto, 8 channels a message:",
    "",
    aligned([["subject", "messages/s", "of the floor", "CPU µs a message", "RSS MB", "a core of its own"], ...rows]),
  ];
  if (alerts !== null) {
    const { perSecond, alerts: count, silent, p50Ms, p99Ms, maxMs } = alerts;
    parts.push(
      "",
      `From a reading to its alert by z-score, ${whole(perSecond)} readings a second coming:`,
      "",
      aligned([
        ["alerts", "devices that raised none", "p50 ms", "p99 ms", "longest ms"],
        [String(count), String(silent), shown(p50Ms), shown(p99Ms), shown(maxMs)],
      ]),
    );
  }
  if (memory !== null) {
    const { idleMb, devices, devicesMb, devicesPeakMb } = memory;
    parts.push(
      "",
      `Memory: idle ${shown(idleMb)} MB; ${whole(devices)} devices ${shown(devicesMb)} MB, peak ${shown(devicesPeakMb)} MB`,
    );
  }
  if (failures.length > 0) parts.push("", ...failures.map((failure) => `not measured: ${failure}`));
  return [...parts, "", targetTable(targets(report))].join("\n");
}
