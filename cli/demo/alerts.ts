// What the demo's outside listener hears on MQTT: every alert, checked against the faults the plant knows it made.
import { connectAsync } from "mqtt";
import type { PumpRow } from "./plant.ts";

export interface AlertLine {
  readonly state: "raised" | "cleared";
  readonly device: string;
  readonly severity: string;
  readonly model: string;
  readonly contributors: readonly string[];
  readonly onFaultyDevice: boolean;
}

export interface AlertCounts {
  readonly raised: number;
  readonly cleared: number;
  /** Raised while the device had a fault, or at most a minute after it. */
  readonly onFaultyDevices: number;
}

export interface AlertListener {
  readonly counts: AlertCounts;
  readonly recent: readonly AlertLine[];
  /** To be told of every row that the plant publishes: it alone knows the truth. */
  published(device: string, row: PumpRow): void;
  close(): Promise<void>;
}

interface AlertEvent {
  readonly type: string;
  readonly source: string;
  readonly time: string;
  readonly data: {
    readonly severity: string;
    readonly contributors: readonly {
      channel: string;
      share: number;
      value: number;
      unit: string;
      expected: [number, number];
    }[];
    readonly model: { readonly kind: string; readonly global_version: number | null };
  };
}

const AFTERMATH_MS = 60_000;
const RECENT_LINES = 8;

export async function listenForAlerts(brokerUrl: string, onLine: (line: AlertLine) => void): Promise<AlertListener> {
  const counts = { raised: 0, cleared: 0, onFaultyDevices: 0 };
  const recent: AlertLine[] = [];
  const faults = new Map<string, { fromMs: number; toMs: number }[]>();

  const client = await connectAsync(brokerUrl, { clientId: "flead-demo-listener" });
  client.on("message", (_topic, payload) => {
    const event = JSON.parse(payload.toString()) as AlertEvent;
    const state = /^flead\.anomaly\.(raised|cleared)\./.exec(event.type)?.[1] as AlertLine["state"] | undefined;
    if (state === undefined) return;
    const device = event.source.split("/").at(-1) ?? "";
    const atMs = Date.parse(event.time);
    const onFaultyDevice = (faults.get(device) ?? []).some(
      ({ fromMs, toMs }) => atMs >= fromMs && atMs <= toMs + AFTERMATH_MS,
    );
    counts[state]++;
    if (state === "raised" && onFaultyDevice) counts.onFaultyDevices++;
    const { severity, contributors, model } = event.data;
    const version = model.kind === "federated" ? ` v${model.global_version}` : "";
    const line = {
      state,
      device,
      severity,
      model: `${model.kind}${version}`,
      contributors: contributors.slice(0, 3).map((c) => `${c.channel} ${Math.round(100 * c.share)} %`),
      onFaultyDevice,
    };
    recent.unshift(line);
    recent.splice(RECENT_LINES);
    onLine(line);
  });
  await client.subscribeAsync("flead/v1/+/+/event/+/+", { qos: 1 });
  return {
    counts,
    recent,
    published: (device, { atMs, fault }) => {
      if (fault === null) return;
      const known = faults.get(device) ?? [];
      faults.set(device, known);
      const last = known.at(-1);
      // Rows of one fault follow each other by a second.
      if (last && atMs - last.toMs <= 1_500) last.toMs = atMs;
      else known.push({ fromMs: atMs, toMs: atMs });
    },
    close: () => client.endAsync(),
  };
}
