// How long from a reading to its alert while thousands a second come.
import { connectAsync } from "mqtt";
import { pause, within } from "../../runtime/retry.ts";
import type { BenchBroker } from "./broker.ts";
import type { Load } from "./load.ts";
import { deviceName, SITE } from "./readings.ts";
import type { BenchSizes } from "./sizes.ts";
import { type AgentUnderTest, GATEWAY, startAgentUnderTest } from "./subject.ts";

export interface AlertFigures {
  readonly perSecond: number;
  readonly alerts: number;
  /** Devices that raised nothing within the time given them. */
  readonly silent: number;
  readonly p50Ms: number | null;
  readonly p99Ms: number | null;
  readonly maxMs: number | null;
}

/** A device says something wrong until it has raised, and is then as before. */
const ALERT_MS = 20_000;
/** So few that they are no storm: more than a fifth of the devices within a minute would be told as one. */
const BETWEEN_MS = 400;
/** The z-score of a device begins at row 30; at row 256 its own forest takes over, which raises by itself now and then. */
const WARM_ROWS = 40;

export async function timeAlerts(
  folder: string,
  broker: BenchBroker,
  load: Load,
  sizes: BenchSizes,
): Promise<AlertFigures> {
  const agent: AgentUnderTest = await startAgentUnderTest(folder, broker.url, false);
  const ear = await connectAsync(broker.url, { protocolVersion: 4 });
  const delays: number[] = [];
  let silent = 0;
  try {
    const { alertDevices: devices, raised, steadyPerSecond } = sizes;
    await load.publish(devices, steadyPerSecond, devices * WARM_ROWS);
    load.begin(devices, steadyPerSecond);
    await ear.subscribeAsync(`flead/v1/${SITE}/${GATEWAY}/event/+/+`, { qos: 1 });
    ear.setMaxListeners(raised + 10);
    const underway: Promise<number | null>[] = [];
    for (let device = 0; device < raised; device++) {
      underway.push(raise(device));
      await pause(BETWEEN_MS);
    }
    for (const delayMs of await Promise.all(underway)) {
      if (delayMs === null) silent++;
      else delays.push(delayMs);
    }
    await load.stop();
  } finally {
    await ear.endAsync();
    await agent.stop();
  }
  const sorted = delays.toSorted((a, b) => a - b);
  const at = (share: number) => sorted[Math.min(sorted.length - 1, Math.floor(share * sorted.length))] ?? null;
  return {
    perSecond: sizes.steadyPerSecond,
    alerts: sorted.length,
    silent,
    p50Ms: at(0.5),
    p99Ms: at(0.99),
    maxMs: at(1),
  };

  /** From when the raising row was published, which is its time, to when the event was heard. */
  async function raise(device: number): Promise<number | null> {
    load.wrong(device, true);
    let hear = (_topic: string, _payload: Buffer) => {};
    const heard = new Promise<number>((resolve) => {
      hear = (topic, payload) => {
        if (topic.split("/").at(-2) !== deviceName(device)) return;
        const event = JSON.parse(payload.toString()) as { type: string; time: string };
        if (event.type.includes(".raised.")) resolve(Date.now() - Date.parse(event.time));
      };
    });
    ear.on("message", hear);
    const delayMs = await within(ALERT_MS, heard).catch(() => null);
    ear.off("message", hear);
    load.wrong(device, false);
    return delayMs;
  }
}
