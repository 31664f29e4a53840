// The load, in a process of its own: readings of many devices in turn, at a rate or as fast as the broker takes them.
import { Socket } from "node:net";
import { connect, type MqttClient } from "mqtt";
import { Readings, telemetryTopic } from "./readings.ts";

/** What the benchmark tells it. */
export type Order =
  | {
      readonly kind: "publish";
      readonly devices: number;
      readonly perSecond: number | null;
      readonly count: number | null;
    }
  | { readonly kind: "wrong"; readonly device: number; readonly on: boolean }
  | { readonly kind: "stop" };

/** What it says: how many were published since the last order to publish. */
export interface Said {
  readonly kind: "ready" | "done" | "stopped";
  readonly published: number;
}

const TICK_MS = 5;
const MOST_AT_ONCE = 500;
const UNSENT_BYTES = 1024 * 1024;

const [url = ""] = process.argv.slice(2);
const readings = new Readings(1);
const wrong = new Set<number>();
const client = connect(url, { protocolVersion: 4, reconnectPeriod: 0 });
const say = (kind: Said["kind"]) => process.send?.({ kind, published });
/** Each device's last reading: the next is of a later millisecond, and goes on where the one before left off. */
const last = new Map<number, { readonly atMs: number; readonly turn: number }>();
let published = 0;
let timer: NodeJS.Timeout | null = null;

client.on("connect", () => {
  if (client.stream instanceof Socket) client.stream.setNoDelay(true); // a reading is sent when it is due
  say("ready");
});
process.on("message", (order: Order) => {
  if (order.kind === "wrong") {
    if (order.on) wrong.add(order.device);
    else wrong.delete(order.device);
    return;
  }
  if (timer) clearInterval(timer);
  timer = null;
  if (order.kind === "stop") say("stopped");
  else publish(client, order);
});
process.on("disconnect", () => process.exit());

function publish(to: MqttClient, { devices, perSecond, count }: Extract<Order, { kind: "publish" }>): void {
  published = 0;
  const startedMs = performance.now();
  timer = setInterval(() => {
    const due = perSecond === null ? Number.POSITIVE_INFINITY : ((performance.now() - startedMs) / 1000) * perSecond;
    for (let sent = 0; sent < MOST_AT_ONCE && published < Math.min(due, count ?? due); sent++) {
      if (to.stream.writableLength > UNSENT_BYTES) break;
      const device = published % devices;
      const before = last.get(device) ?? { atMs: 0, turn: 0 };
      const [atMs, turn] = [Date.now(), before.turn + 1];
      if (atMs <= before.atMs) break; // or its rows would run ahead of its clock
      last.set(device, { atMs, turn });
      const payload = readings.payload(device, turn, atMs, wrong.has(device));
      to.publish(telemetryTopic(device), payload, { qos: 0 });
      published++;
    }
    if (count !== null && published >= count) {
      if (timer) clearInterval(timer);
      timer = null;
      say("done");
    }
  }, TICK_MS);
}
