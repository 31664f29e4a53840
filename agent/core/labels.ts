// What people say of alerts, and where labels and their words come from.
import type { DeviceId } from "../../learning/ids.ts";
import { deviceOf, readBody, type SensorMessage, show, timeOf } from "../../learning/telemetry/message.ts";
import { isRefusal, type Refusal, refusal } from "../../learning/telemetry/refusal.ts";
import type { Origin } from "./alert.ts";
import { ACK_ACTIONS, type AckAction, isModelKind, type ModelKind } from "./episode.ts";

export interface AlertWord {
  readonly deviceId: DeviceId;
  readonly kind: ModelKind;
  readonly action: AckAction;
  /** Null: the device's active or last episode under that model. */
  readonly alertId: string | null;
  /** Of a snooze, at most a week after it was said; else null. */
  readonly untilMs: number | null;
  readonly receivedAtMs: number;
}

/** Topic filters. */
export const labelTopics = ({ site, gatewayId }: Pick<Origin, "site" | "gatewayId">) => [
  `flead/v1/${site}/+/label`,
  `flead/v1/${site}/${gatewayId}/alert/+/+/ack`,
];

const MAX_ALERT_ID_CHARACTERS = 64;
const DAY_MS = 86_400_000;
const LONGEST_SNOOZE_DAYS = 7;

const isAckAction = (given: unknown): given is AckAction => ACK_ACTIONS.some((action) => action === given);

/** Never throws, whatever the bytes are. */
export function readAlertWord(message: SensorMessage): AlertWord | Refusal {
  const id = deviceOf(message.topic, 3);
  if (typeof id !== "string") return id;
  const kind = message.topic.split("/").at(-2) ?? "";
  if (!isModelKind(kind)) return refusal("unknown_alert", `no alert is of a model ${show(kind)}`);
  const body = readBody(message);
  if (isRefusal(body)) return body;
  const { action, alert_id: alertId = null } = body.json;
  if (!isAckAction(action)) {
    const allowed = ACK_ACTIONS.map((name) => JSON.stringify(name)).join(", ");
    return refusal("unknown_action", `action ${show(action)}; allowed are ${allowed}`);
  }
  if (action === "reset_threshold" && kind !== "federated") {
    return refusal("unknown_action", `the threshold of ${kind} is never moved, so it can't be reset; federated's can`);
  }
  const isId = typeof alertId === "string" && alertId.length > 0 && alertId.length <= MAX_ALERT_ID_CHARACTERS;
  if (alertId !== null && !isId) {
    return refusal("wrong_shape", `alert_id ${show(alertId)} must be the id that the alert came with, or left out`);
  }
  const { receivedAtMs } = message;
  const untilMs = action === "snooze" ? snoozedUntil(body.json.until, receivedAtMs) : null;
  if (untilMs !== null && typeof untilMs !== "number") return untilMs;
  return { deviceId: id, kind, action, alertId, untilMs, receivedAtMs };
}

function snoozedUntil(given: unknown, nowMs: number): number | Refusal {
  const untilMs = timeOf(given, "until");
  if (typeof untilMs !== "number" || (untilMs > nowMs && untilMs <= nowMs + LONGEST_SNOOZE_DAYS * DAY_MS))
    return untilMs;
  const allowed = `it must be in the ${LONGEST_SNOOZE_DAYS} days from now, ${new Date(nowMs).toISOString()} by the gateway's clock`;
  return refusal("wrong_shape", `until ${show(given)}: ${allowed}`);
}
