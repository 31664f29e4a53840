// The demo's cast: which pump stands behind which gateway, and which are held out for the evaluator.
import { mkdir, writeFile } from "node:fs/promises";
import { join } from "node:path";
import { createPump, PLANT_CHANNELS, type Pump, type PumpRow } from "./plant.ts";

export const GATEWAYS = 6;
const PUMPS_A_GATEWAY = 2;
const HELD_OUT_PUMPS = 4;
const HELD_OUT_ROWS = 2400;
/** Faults come after the rows a device learns its own normal from. */
const FIRST_FAULT_AFTER_ROWS = 450;
const FAULT_EVERY_ROWS = 300;

export interface DemoPump {
  readonly device: string;
  readonly site: string;
  readonly pump: Pump;
}

export const gatewayName = (index: number) => `gw-${index + 1}`;
export const siteName = (index: number) => `hall-${index + 1}`;

const pumpSettings = (seed: number, pumpIndex: number, startMs: number) => ({
  seed,
  pumpIndex,
  startMs,
  firstFaultAfterRows: FIRST_FAULT_AFTER_ROWS,
  faultEveryRows: FAULT_EVERY_ROWS,
});

export function createPumps(seed: number, startMs: number): DemoPump[] {
  return Array.from({ length: GATEWAYS * PUMPS_A_GATEWAY }, (_, index) => ({
    device: `pump-${index + 1}`,
    site: siteName(Math.floor(index / PUMPS_A_GATEWAY)),
    pump: createPump(pumpSettings(seed, index, startMs)),
  }));
}

/** Writes the held-out pumps' labelled rows to `folder`/pumps, where only the coordinator reads them. */
export async function writeHeldOutPumps(folder: string, seed: number, startMs: number): Promise<void> {
  await mkdir(join(folder, "pumps"), { recursive: true });
  for (let index = 0; index < HELD_OUT_PUMPS; index++) {
    const pump = createPump(pumpSettings(seed, GATEWAYS * PUMPS_A_GATEWAY + index, startMs));
    const lines = Array.from({ length: HELD_OUT_ROWS }, () => csvLine(pump.next()));
    const header = `timestamp,${PLANT_CHANNELS.map(({ name }) => name).join(",")},anomaly`;
    await writeFile(join(folder, "pumps", `held-out-${index + 1}.csv`), `${[header, ...lines].join("\n")}\n`);
  }
}

function csvLine({ atMs, values, fault }: PumpRow): string {
  return [new Date(atMs).toISOString(), ...values, fault === null ? 0 : 1].join(",");
}
