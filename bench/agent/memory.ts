// What the agent takes while it idles, and with as many devices as one gateway may have.
import { pause } from "../../runtime/retry.ts";
import { memoryOf } from "../process-figures.ts";
import type { BenchBroker } from "./broker.ts";
import type { Load } from "./load.ts";
import type { BenchSizes } from "./sizes.ts";
import { CALIBRATING_ROWS, startAgentUnderTest } from "./subject.ts";

export interface MemoryFigures {
  readonly idleMb: number | null;
  readonly devices: number;
  /** With all of them calibrated under the cohort's model. */
  readonly devicesMb: number | null;
  readonly devicesPeakMb: number | null;
}

const PER_SECOND = 8_000;
const SETTLE_MS = 5_000;

export async function measureMemory(
  folder: string,
  broker: BenchBroker,
  load: Load,
  { idleMs, manyDevices: devices }: BenchSizes,
): Promise<MemoryFigures> {
  const agent = await startAgentUnderTest(folder, broker.url, true);
  try {
    await pause(idleMs);
    const idleMb = memoryOf(agent.pid)?.rssMb ?? null;
    await load.publish(devices, PER_SECOND, devices * CALIBRATING_ROWS);
    await pause(SETTLE_MS);
    const memory = memoryOf(agent.pid);
    return { idleMb, devices, devicesMb: memory?.rssMb ?? null, devicesPeakMb: memory?.peakMb ?? null };
  } finally {
    await agent.stop();
  }
}
