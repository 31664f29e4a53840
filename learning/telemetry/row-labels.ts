// What people and other systems say of rows by their time: whether they are anomalies.
import type { DeviceId } from "../ids.ts";
import { deviceOf, labelOf, readBody, type SensorMessage, show, timeOf } from "./message.ts";
import { isRefusal, type Refusal, refusal } from "./refusal.ts";

/** Of all the device's rows from one time to another, both included. */
export interface RowLabels {
  readonly deviceId: DeviceId;
  readonly label: 0 | 1;
  readonly fromMs: number;
  readonly toMs: number;
}

/** Never throws, whatever the bytes are. */
export function readRowLabels(message: SensorMessage): RowLabels | Refusal {
  const id = deviceOf(message.topic, 2);
  if (typeof id !== "string") return id;
  const body = readBody(message);
  if (isRefusal(body)) return body;
  const { json } = body;
  const label = labelOf(json.label);
  if (label === null) return refusal("bad_label", `label ${show(json.label)}; allowed are 0, 1, false and true`);
  const fromMs = timeOf(json.from, "from");
  if (typeof fromMs !== "number") return fromMs;
  const toMs = timeOf(json.to, "to");
  if (typeof toMs !== "number") return toMs;
  if (toMs < fromMs) return refusal("wrong_shape", `to ${show(json.to)} is before from ${show(json.from)}`);
  return { deviceId: id, label, fromMs, toMs };
}
