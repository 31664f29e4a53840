// Publishes the plant's pumps over MQTT, one message a row, as any sensor gateway would.
import { connectAsync } from "mqtt";
import { pause } from "../../runtime/retry.ts";
import type { DemoPump } from "./fleet.ts";
import { PLANT_CHANNELS, type PumpRow } from "./plant.ts";

const ROW_MS = 1_000;

/** Every pump's next row, `speed` times a second, until `stop`. Labels stay here. */
export async function publishPlant(
  brokerUrl: string,
  pumps: readonly DemoPump[],
  speed: number,
  published: (device: string, row: PumpRow) => void,
  stop: AbortSignal,
): Promise<void> {
  const client = await connectAsync(brokerUrl, { clientId: "flead-demo-plant", queueQoSZero: false });
  const intervalMs = ROW_MS / speed;
  let dueMs = performance.now();
  while (!stop.aborted) {
    for (const { device, site, pump } of pumps) {
      const row = pump.next();
      published(device, row);
      const telemetry = Object.fromEntries(
        PLANT_CHANNELS.map(({ name, unit }, channel) => [name, { value: row.values[channel], unit }]),
      );
      const payload = JSON.stringify({ timestamp: new Date(row.atMs).toISOString(), telemetry });
      await client.publishAsync(`flead/v1/${site}/${device}/telemetry`, payload, { qos: 1 });
    }
    dueMs = Math.max(dueMs + intervalMs, performance.now() - ROW_MS); // after a stall, don't race to catch up
    await pause(Math.max(0, dueMs - performance.now()), stop);
  }
  await client.endAsync();
}
