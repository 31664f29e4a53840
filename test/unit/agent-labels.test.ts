import fc from "fast-check";
import { expect, test } from "vitest";
import { alertMessages } from "../../agent/core/alert.ts";
import { Device } from "../../agent/core/device.ts";
import { type Episode, quiet, stepEpisode } from "../../agent/core/episode.ts";
import { labelTopics, readAlertWord } from "../../agent/core/labels.ts";
import { type PendingRow, PendingRows } from "../../agent/core/pending-rows.ts";
import { SeenRows } from "../../agent/core/seen-rows.ts";
import { cohortId, deviceId, gatewayId } from "../../learning/ids.ts";
import { isRefusal } from "../../learning/telemetry/refusal.ts";
import { readRowLabels } from "../../learning/telemetry/row-labels.ts";

const RECEIVED_MS = Date.parse("2026-11-21T10:00:00Z");
const LABEL_TOPIC = "flead/v1/north/pump-1/label";
const ACK_TOPIC = "flead/v1/north/gw-1/alert/pump-1/federated/ack";

const message = (topic: string, body: unknown, retained = false) => ({
  topic,
  payload: new TextEncoder().encode(typeof body === "string" ? body : JSON.stringify(body)),
  retained,
  receivedAtMs: RECEIVED_MS,
});

test("the topics are the site's for labels and the gateway's own for alerts", () => {
  expect(labelTopics({ site: "north", gatewayId: gatewayId("gw-1") })).toEqual([
    "flead/v1/north/+/label",
    "flead/v1/north/gw-1/alert/+/+/ack",
  ]);
});

test.each([
  [{ label: 1, from: "2026-11-21T09:00:00Z", to: "2026-11-21T09:01:00+00:00" }, 1],
  [{ label: 1, from: RECEIVED_MS - 3_600_000, to: RECEIVED_MS - 3_540_000 }, 1],
  [{ label: true, from: RECEIVED_MS / 1000 - 3600, to: RECEIVED_MS / 1000 - 3540 }, 1],
  [{ label: false, from: "2026-11-21 09:00", to: "2026-11-21 09:01:00" }, 0],
])("labels say a time as timestamps do: %j", (body, label) => {
  const [fromMs, toMs] = [RECEIVED_MS - 3_600_000, RECEIVED_MS - 3_540_000];
  expect(readRowLabels(message(LABEL_TOPIC, body))).toEqual({ deviceId: "pump-1", label, fromMs, toMs });
});

const NOW = "2026-11-21T10:00:00Z";
test.each([
  ["malformed_json", "label=1"],
  ["wrong_shape", "[]"],
  ["too_large", `{"label": 1, "x": "${"x".repeat(70_000)}"}`],
  ["bad_label", { from: NOW, to: NOW }],
  ["bad_label", { label: 2, from: NOW, to: NOW }],
  ["bad_label", { label: "1", from: NOW, to: NOW }],
  ["bad_label", { label: null, from: NOW, to: NOW }],
  ["wrong_shape", { label: 1, to: NOW }],
  ["wrong_shape", { label: 1, from: NOW }],
  ["wrong_shape", { label: 1, from: "yesterday", to: NOW }],
  ["wrong_shape", { label: 1, from: NOW, to: "2026-11-21T09:59:59Z" }],
])("labels are refused as %s: %j", (kind, body) => {
  expect(readRowLabels(message(LABEL_TOPIC, body))).toMatchObject({ refused: kind });
});

test("retained words are refused, and those on ids that would break a topic", () => {
  const labels = { label: 1, from: NOW, to: NOW };
  expect(readRowLabels(message(LABEL_TOPIC, labels, true))).toMatchObject({ refused: "retained" });
  expect(readAlertWord(message(ACK_TOPIC, { action: "confirm" }, true))).toMatchObject({ refused: "retained" });
  const bad = "flead/v1/north/../label";
  expect(readRowLabels(message(bad, labels))).toMatchObject({ refused: "invalid_device_id" });
});

test("an operator confirms an alert or calls it false, by its id or the device's last one", () => {
  const word = { deviceId: "pump-1", kind: "federated", untilMs: null, receivedAtMs: RECEIVED_MS };
  expect(readAlertWord(message(ACK_TOPIC, { action: "confirm", alert_id: "01A" }))).toEqual({
    ...word,
    action: "confirm",
    alertId: "01A",
  });
  expect(readAlertWord(message(ACK_TOPIC, { action: "false_alarm" }))).toEqual({
    ...word,
    action: "false_alarm",
    alertId: null,
  });
});

test("a snooze has an end within a week, and an end of its own", () => {
  const until = (body: unknown) => readAlertWord(message(ACK_TOPIC, body));
  const untilMs = RECEIVED_MS + 7 * 86_400_000;
  expect(until({ action: "snooze", until: "2026-11-28T10:00:00Z" })).toMatchObject({ action: "snooze", untilMs });
  expect(until({ action: "unsnooze", until: "nonsense" })).toMatchObject({ action: "unsnooze", untilMs: null });
  expect(until({ action: "snooze", until: "2027-01-01" })).toMatchObject({
    detail: expect.stringMatching(/until "2027-01-01".* 7 days from now, 2026-11-21T10/),
  });
});

test("a reset is about the champion's threshold, the only one that is ever moved", () => {
  const reset = { action: "reset_threshold" };
  expect(readAlertWord(message(ACK_TOPIC, reset))).toMatchObject({ ...reset, kind: "federated", alertId: null });
  for (const kind of ["z_score", "isolation_forest"]) {
    const refused = readAlertWord(message(ACK_TOPIC.replace("federated", kind), reset));
    expect(refused).toMatchObject({ refused: "unknown_action", detail: expect.stringContaining(kind) });
  }
});

test.each([
  ["wrong_shape", { action: "snooze" }],
  ["wrong_shape", { action: "snooze", until: "tomorrow" }],
  ["wrong_shape", { action: "snooze", until: NOW }],
  ["wrong_shape", { action: "snooze", until: "2026-11-28T10:00:01Z" }],
  ["unknown_action", { action: "ignore" }],
  ["unknown_action", {}],
  ["wrong_shape", { action: "confirm", alert_id: 7 }],
  ["wrong_shape", { action: "confirm", alert_id: "" }],
  ["wrong_shape", { action: "confirm", alert_id: "x".repeat(65) }],
])("a word on an alert is refused as %s: %j", (kind, body) => {
  const refused = readAlertWord(message(ACK_TOPIC, body));
  expect(refused).toMatchObject({ refused: kind });
  if (kind === "unknown_action") expect(refused).toMatchObject({ detail: expect.stringContaining('"false_alarm"') });
  const other = ACK_TOPIC.replace("federated", "oracle");
  expect(readAlertWord(message(other, { action: "confirm" }))).toMatchObject({ refused: "unknown_alert" });
});

test("no message makes the reading of labels and words throw", () => {
  const keys = fc.constantFrom("label", "from", "to", "action", "alert_id", "__proto__");
  const values = fc.oneof(
    fc.jsonValue(),
    fc.double(),
    fc.constantFrom(0, 1, NOW, "confirm", "false_alarm", "reset_threshold"),
  );
  const payload = fc.oneof(
    fc.uint8Array({ maxLength: 200 }),
    fc.dictionary(fc.oneof(keys, fc.string()), values).map((body) => message("", body).payload),
  );
  const topic = fc.oneof(fc.string(), fc.constantFrom(LABEL_TOPIC, ACK_TOPIC));
  fc.assert(
    fc.property(topic, payload, fc.boolean(), (topic, payload, retained) => {
      const given = { topic, payload, retained, receivedAtMs: RECEIVED_MS };
      const labels = readRowLabels(given);
      if (!isRefusal(labels)) {
        expect(labels.fromMs).toBeLessThanOrEqual(labels.toMs);
        expect([0, 1]).toContain(labels.label);
        new Date(labels.toMs).toISOString();
      }
      const word = readAlertWord(given);
      if (!isRefusal(word)) expect(["confirm", "false_alarm", "reset_threshold"]).toContain(word.action);
    }),
    { numRuns: 3000 },
  );
});

/** Rows of one feature, one a second from `from` on, and what waits to be learned of them. */
function seenRows(rows: number, { featureCount = 1, from = 0 } = {}) {
  const seen = new SeenRows(featureCount);
  const pending = new PendingRows(10_000);
  for (let row = from; row < from + rows; row++) {
    seen.enter(1000 * row, new Float32Array(featureCount).fill(row));
  }
  const label = (value: 0 | 1, fromS: number, toS: number) =>
    seen.label({ label: value, fromMs: 1000 * fromS, toMs: 1000 * toS }, (x, y): PendingRow => pending.add(x, y));
  return { seen, pending, label };
}

test("labels join the rows from the first time to the last, both included", () => {
  const { pending, label } = seenRows(10);
  expect(label(1, 3, 5)).toEqual({ rows: 3, trained: false, late: false });
  expect(label(0, 8, 99)).toEqual({ rows: 2, trained: false, late: false });
  expect(pending.take(1)).toMatchObject({ x: Float32Array.of(3, 4, 5, 8, 9), y: Float32Array.of(1, 1, 1, 0, 0) });
});

test("a row that is labelled again is learned once, by what was said of it last before it was learned", () => {
  const { pending, label } = seenRows(10);
  label(1, 2, 3);
  expect(label(0, 3, 3)).toMatchObject({ rows: 1 });
  const taken = pending.take(1);
  expect(taken).toMatchObject({ x: Float32Array.of(2, 3), y: Float32Array.of(1, 0) });
  pending.learned(taken.upTo);
  expect(label(1, 2, 4)).toMatchObject({ rows: 1 });
  expect(pending.take(1)).toMatchObject({ x: Float32Array.of(4), y: Float32Array.of(1), rows: 1 });
});

test("600 rows are held, fewer where they are wide, and labels of those that are gone are late", () => {
  const { pending, label } = seenRows(700);
  expect(label(1, 99, 100)).toEqual({ rows: 1, trained: false, late: true });
  expect(label(1, 100, 101)).toEqual({ rows: 2, trained: false, late: false });
  expect(pending.take(1).x).toEqual(Float32Array.of(100, 101));
  expect(label(0, 0, 50)).toEqual({ rows: 0, trained: false, late: true });
  const wide = seenRows(100, { featureCount: 1024 });
  expect(wide.label(1, 0, 99)).toEqual({ rows: 64, trained: false, late: true });
});

test("rows that were learned with the other label are told from rows that are gone without one", () => {
  const { seen, pending, label } = seenRows(10);
  label(1, 4, 5);
  pending.learned(pending.take(1).upTo);
  expect(label(0, 3, 6)).toEqual({ rows: 2, trained: true, late: false });
  expect(label(1, 4, 5)).toEqual({ rows: 0, trained: false, late: false });
  for (let row = 10; row < 606; row++) seen.enter(1000 * row, Float32Array.of(row));
  // Rows 4 and 5 are gone from the 600 as labelled with 1, row 3 as labelled with 0, rows 0 to 2 without a label.
  expect(label(1, 4, 5)).toEqual({ rows: 0, trained: false, late: false });
  expect(label(0, 4, 5)).toEqual({ rows: 0, trained: true, late: false });
  expect(label(0, 2, 5)).toEqual({ rows: 0, trained: true, late: true });
  expect(label(1, 6, 6)).toEqual({ rows: 1, trained: false, late: false });
});

test("rows that nothing can be learned from, and those before a restart, are gone", () => {
  const seen = new SeenRows(1, 5000);
  const learn = () => expect.unreachable("there is nothing to learn");
  expect(seen.lastAtMs).toBe(5000);
  expect(seen.label({ label: 1, fromMs: 5000, toMs: 9000 }, learn)).toEqual({ rows: 0, trained: false, late: true });
  expect(seen.label({ label: 1, fromMs: 5001, toMs: 9000 }, learn)).toEqual({ rows: 0, trained: false, late: false });
  seen.enter(6000, null);
  expect(seen.label({ label: 1, fromMs: 5001, toMs: 9000 }, learn)).toEqual({ rows: 0, trained: false, late: true });
});

function anEpisode(): Episode {
  const seen = {
    active: true,
    over: true,
    score: 3,
    threshold: 2,
    ruleThreshold: 2,
    confidence: 0.8,
    contributors: [],
    missing: [],
  };
  const subject = { newAlertId: () => "a1", deviceId: deviceId("pump-1"), cohort: cohortId("pumps") };
  const about = { ...subject, kind: "federated" as const, globalVersion: 7, localSteps: 40 };
  const { state } = stepEpisode(quiet, { ...seen, atMs: 5000 }, about);
  const later = stepEpisode(state, { ...seen, atMs: 6000 }, about).state;
  const { episode } = stepEpisode(later, { ...seen, atMs: 7000, over: false, score: 1 }, about).state;
  if (episode === null) throw new Error("no episode was raised");
  return episode;
}

test("an episode knows the last of its rows that was over", () => {
  expect(anEpisode()).toMatchObject({ startedAtMs: 5000, lastOverAtMs: 6000, updatedAtMs: 7000, count: 2 });
});

test("an acknowledged alert is said again with the word, without touching a later episode's state", () => {
  const ack = { action: "false_alarm", atMs: RECEIVED_MS, movedThreshold: true } as const;
  const origin = { site: "north", gatewayId: gatewayId("gw-1"), alertPrefix: null };
  const event = { kind: "acked", episode: { ...anEpisode(), ack } } as const;
  const messages = alertMessages(origin, event, { id: "e1", receivedAtMs: RECEIVED_MS, clock: "synced" });
  expect(messages.map(({ topic, retain }) => [topic, retain])).toEqual([
    ["flead/v1/north/gw-1/alert/pump-1/federated", true],
    ["flead/v1/north/gw-1/event/pump-1/federated", false],
  ]);
  expect(JSON.parse(messages[0]?.payload ?? "")).toMatchObject({
    type: "flead.anomaly.acked.v1",
    time: NOW.replace("Z", ".000Z"),
    data: { alert_id: "a1", state: "active", ack: { action: "false_alarm", at: NOW.replace("Z", ".000Z") } },
  });
  expect(Object.keys(JSON.parse(messages[0]?.payload ?? "").data.ack)).toEqual(["action", "at"]);
  const older = alertMessages(origin, event, { id: "e1", receivedAtMs: RECEIVED_MS, clock: "synced", isLast: false });
  expect(older.map(({ topic }) => topic)).toEqual(["flead/v1/north/gw-1/event/pump-1/federated"]);
});

test("a false alarm moves a device's factor to just above the score, within its bounds, for champions' alarms alone", () => {
  const device = new Device(deviceId("pump-1"), [{ name: "flow", unit: "" }]);
  expect(device.factorAfterFalseAlarm({ ruleThreshold: 2, score: 3 })).toBeCloseTo(1.515, 9);
  expect(device.factorAfterFalseAlarm({ ruleThreshold: 2, score: 30 })).toBe(2);
  expect(device.factorAfterFalseAlarm({ ruleThreshold: null, score: 30 })).toBe(1);
  expect(device.operatorFactor).toBe(1);
  device.operatorFactor = 1.5;
  const restored = Device.restore(structuredClone(device.record()), null);
  expect(restored.operatorFactor).toBe(1.5);
  const { operatorFactor: _, ...older } = device.record();
  expect(Device.restore(older, null).operatorFactor).toBe(1);
  expect(Device.restore({ ...device.record(), operatorFactor: 99 }, null).operatorFactor).toBe(2);
});
