// The faults of the simulated plant: what can break, when it does, and how far each has gone in a given second.
import type { Random } from "../../learning/random.ts";

export const FAULTS = ["valve_closing", "imbalance", "cavitation", "leak", "sensor_stuck"] as const;
export type FaultKind = (typeof FAULTS)[number];

export interface Fault {
  readonly kind: FaultKind;
  /** From barely to plainly there, in [0.3, 1]. */
  readonly severity: number;
  /** The channel whose sensor is stuck; null for every other fault. */
  readonly channel: string | null;
}

interface Occurrence {
  readonly fault: Fault;
  readonly startRow: number;
  readonly endRow: number;
  readonly rampRows: number;
}

const STUCK_SENSORS = ["vibration_x", "current", "pressure", "flow"] as const;
const DURATION_ROWS = [40, 120] as const;
const RAMP_ROWS = [10, 30] as const;
const RELEASE_ROWS = 5;
/** A machine is left alone at least this long between two faults. */
const REST_ROWS = 60;

export interface FaultSchedule {
  /** Rows must be asked for in order. `depth` in [0, severity]: the fault's ramp at this row, 0 without a fault. */
  at(row: number): { fault: Fault | null; depth: number };
}

const between = (random: Random, [low, high]: readonly [number, number]) => low + (high - low) * random.next();

function shuffled<T>(items: readonly T[], random: Random): T[] {
  const left = [...items];
  return items.flatMap(() => left.splice(Math.floor(random.next() * left.length), 1));
}

function draw(kind: FaultKind, startRow: number, random: Random): Occurrence {
  const severity = between(random, [0.3, 1]);
  const sensor = STUCK_SENSORS[Math.floor(random.next() * STUCK_SENSORS.length)] ?? null;
  return {
    fault: { kind, severity, channel: kind === "sensor_stuck" ? sensor : null },
    startRow,
    endRow: startRow + Math.round(between(random, DURATION_ROWS)),
    rampRows: between(random, RAMP_ROWS),
  };
}

function depthAt({ fault, startRow, endRow, rampRows }: Occurrence, row: number): number {
  return fault.severity * Math.min(1, (row - startRow + 1) / rampRows, (endRow - row) / RELEASE_ROWS);
}

/** Every kind comes once, in random order, before any comes again. `Infinity` rows before the first mean never. */
export function createFaultSchedule(
  random: Random,
  { firstFaultAfterRows, faultEveryRows }: { readonly firstFaultAfterRows: number; readonly faultEveryRows: number },
): FaultSchedule {
  let kinds: FaultKind[] = [];
  const next = (startRow: number): Occurrence => {
    if (kinds.length === 0) kinds = shuffled(FAULTS, random);
    return draw(kinds.pop() ?? "imbalance", Math.ceil(startRow), random);
  };
  let current = next(firstFaultAfterRows + faultEveryRows * between(random, [0, 0.5]));
  return {
    at(row) {
      if (row >= current.endRow) {
        const due = current.startRow + faultEveryRows * between(random, [0.75, 1.25]);
        current = next(Math.max(due, current.endRow + REST_ROWS));
      }
      return row >= current.startRow
        ? { fault: current.fault, depth: depthAt(current, row) }
        : { fault: null, depth: 0 };
    },
  };
}
