// What a process takes of the machine, as Linux tells it; null where there is no /proc.
import { readdirSync, readFileSync } from "node:fs";

/** Of the clock ticks in /proc/<pid>/stat: a constant of Linux's interface (USER_HZ). */
const MS_A_TICK = 10;

export interface Memory {
  readonly rssMb: number;
  /** The most it ever was. */
  readonly peakMb: number;
}

const read = (path: string): string | null => {
  try {
    return readFileSync(path, "utf8");
  } catch {
    return null; // it ended, or this is no Linux
  }
};

/** Resident memory of one process, its children not counted. */
export function memoryOf(pid: number): Memory | null {
  const status = read(`/proc/${pid}/status`);
  if (status === null) return null;
  const megabytes = (field: string) => Number(new RegExp(`${field}:\\s+(\\d+) kB`).exec(status)?.[1]) / 1024;
  return { rssMb: megabytes("VmRSS"), peakMb: megabytes("VmHWM") };
}

/** Fields of /proc/<pid>/stat from the third on: a name before them may hold anything. */
function statOf(pid: number | string): readonly number[] | null {
  const stat = read(`/proc/${pid}/stat`);
  return stat === null
    ? null
    : stat
        .slice(stat.lastIndexOf(")") + 4)
        .split(" ")
        .map(Number);
}

const PARENT = 0;
const USER = 10;
const CHILDREN_USER = 12;
const ticks = (stat: readonly number[], at: number) => Number(stat[at]) + Number(stat[at + 1]);

/** CPU milliseconds of all its threads since it began. */
export function cpuMsOf(pid: number): number | null {
  const stat = statOf(pid);
  return stat && MS_A_TICK * ticks(stat, USER);
}

/** CPU milliseconds of a process and its children, those that ended and were waited for too: a PostgreSQL server. */
export function cpuMsOfFamily(pid: number): number | null {
  const parent = statOf(pid);
  if (parent === null) return null;
  const children = readdirSync("/proc")
    .filter((name) => /^\d+$/.test(name))
    .map(statOf)
    .filter((stat) => stat?.[PARENT] === pid);
  const sum = children.reduce((total, stat) => total + (stat ? ticks(stat, USER) : 0), 0);
  return MS_A_TICK * (ticks(parent, USER) + ticks(parent, CHILDREN_USER) + sum);
}
