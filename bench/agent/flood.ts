// More messages than anybody can take: how many a second each subject is done with, on one core.
import { cpus } from "node:os";
import { pause } from "../../runtime/retry.ts";
import { cpuMsOf, memoryOf } from "../process-figures.ts";
import type { BenchBroker } from "./broker.ts";
import type { Load } from "./load.ts";
import type { BenchSizes } from "./sizes.ts";
import { CALIBRATING_ROWS, pin } from "./subject.ts";
import type { Subject } from "./subjects.ts";

export interface FloodRow {
  readonly subject: string;
  readonly perSecond: number;
  /** Of its CPU, a message; null: Linux does not tell. */
  readonly cpuUs: number | null;
  readonly rssMb: number | null;
  /** It had a core to itself. */
  readonly pinned: boolean;
}

/** Slow enough for every subject to calibrate all devices on what comes. */
const CALIBRATING_PER_SECOND = 4_000;

export async function flood(subject: Subject, broker: BenchBroker, load: Load, sizes: BenchSizes): Promise<FloodRow> {
  const pinned = cpus().length > 1 && (await pin(subject.pid, "1")) && (await pin(broker.pid, "0"));
  const { devices, floodMs } = sizes;
  try {
    const warming = load.publish(devices, CALIBRATING_PER_SECOND, devices * CALIBRATING_ROWS);
    await subject.ready();
    await warming;
    load.begin(devices, null);
    await pause(floodMs / 5);
    const [before, cpuBefore, startedMs] = [await subject.count(), cpuMsOf(subject.pid), performance.now()];
    await pause(floodMs);
    const [done, cpu, seconds] = [await subject.count(), cpuMsOf(subject.pid), (performance.now() - startedMs) / 1000];
    await load.stop();
    const messages = done - before;
    return {
      subject: subject.name,
      perSecond: messages / seconds,
      cpuUs: cpu === null || cpuBefore === null || messages === 0 ? null : (1000 * (cpu - cpuBefore)) / messages,
      rssMb: memoryOf(subject.pid)?.rssMb ?? null,
      pinned,
    };
  } finally {
    await subject.stop();
  }
}
