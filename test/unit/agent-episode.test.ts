import { expect, test } from "vitest";
import { alertMessages, type Origin } from "../../agent/core/alert.ts";
import { clearEpisode, type EpisodeState, quiet, severityOf, stepEpisode } from "../../agent/core/episode.ts";
import { cohortId, deviceId, gatewayId } from "../../learning/ids.ts";

const subject = (newAlertId: () => string) => ({
  newAlertId,
  deviceId: deviceId("pump-1"),
  cohort: cohortId("pumps"),
  kind: "federated" as const,
  globalVersion: 7,
  localSteps: 40,
});

/** A script of rows, `seconds active? over? score confidence`, to what was said of them. */
function transcript(script: string): string[] {
  let state: EpisodeState = quiet;
  let alerts = 0;
  const said: string[] = [];
  for (const line of script.trim().split("\n")) {
    const [seconds = "", active, over, score, confidence] = line.trim().split(/\s+/);
    const seen = {
      atMs: Number(seconds) * 1000,
      active: active === "active",
      over: over === "over",
      score: Number(score),
      threshold: 1,
      ruleThreshold: null,
      confidence: Number(confidence),
      contributors: [],
      missing: [],
    };
    const step = stepEpisode(
      state,
      seen,
      subject(() => `a${++alerts}`),
    );
    state = step.state;
    if (step.event === null) continue;
    const { alertId, severity, score: highest, count } = step.event.episode;
    said.push(`${seconds} ${step.event.kind} ${alertId} ${severity} score ${highest} count ${count}`);
  }
  return said;
}

test("an episode is raised, updated at most once a minute with its highest score, and cleared", () => {
  expect(
    transcript(`
      1    quiet  over   1.5 .80
      2    quiet  under  0.4 .30
      3    quiet  over   1.5 .80
      4    active over   1.6 .80
      5    active over   3.0 .95
      30   active over   1.2 .76
      64   active under  0.9 .50
      65   active under  0.9 .50
      123  active over   2.0 .90
      124  active over   4.0 .99
      190  quiet  under  0.2 .10
    `),
  ).toEqual([
    "4 raised a1 major score 1.6 count 3",
    "64 updated a1 critical score 3 count 5",
    "124 updated a1 critical score 4 count 7",
    "190 cleared a1 critical score 4 count 7",
  ]);
});

test("during the cooldown nothing is raised; an alarm that outlasts it is raised then", () => {
  expect(
    transcript(`
      1    active over  2 .9
      70   quiet  under 0 .1
      100  active over  2 .9
      300  active over  2 .9
      369  active over  2 .9
      370  active over  2 .9
      371  quiet  under 0 .1
      800  active over  2 .9
    `),
  ).toEqual([
    "1 raised a1 critical score 2 count 1",
    "70 cleared a1 critical score 2 count 1",
    "370 raised a2 critical score 2 count 4",
    "371 cleared a2 critical score 2 count 4",
    "800 raised a3 critical score 2 count 1",
  ]);
});

test("an episode that was cleared by a clock in the future holds back none of the present", () => {
  expect(
    transcript(`
      9000 active over  2 .9
      9100 quiet  under 0 .1
      50   active over  2 .9
    `),
  ).toEqual([
    "9000 raised a1 critical score 2 count 1",
    "9100 cleared a1 critical score 2 count 1",
    "50 raised a2 critical score 2 count 1",
  ]);
});

test("severity follows confidence", () => {
  expect([0.9, 0.899, 0.75, 0.749, 0].map(severityOf)).toEqual(["critical", "major", "major", "minor", "minor"]);
});

test("an alert goes to the retained state, the event topic and the prefix, in the agreed form", () => {
  const contributors = [{ channel: "flow", share: 0.6, value: 9.2, expected: [2.1, 4] as const, unit: "l/min" }];
  const seen = {
    atMs: 5000,
    active: true,
    over: true,
    score: 3,
    threshold: 2,
    ruleThreshold: 2,
    confidence: 0.8,
    contributors,
    missing: ["speed"],
  };
  const { state, event } = stepEpisode(
    quiet,
    seen,
    subject(() => "alert-1"),
  );
  const origin: Origin = { site: "north", gatewayId: gatewayId("gw-1"), alertPrefix: "insa/iiot/ml/anomaly" };
  const messages =
    event === null ? [] : alertMessages(origin, event, { id: "event-1", receivedAtMs: 70_000, clock: "stepped" });
  expect(messages.map(({ topic, retain }) => [topic, retain])).toEqual([
    ["flead/v1/north/gw-1/alert/pump-1/federated", true],
    ["flead/v1/north/gw-1/event/pump-1/federated", false],
    ["insa/iiot/ml/anomaly/pump-1", false],
  ]);
  expect(JSON.parse(messages[0]?.payload ?? "")).toEqual({
    specversion: "1.0",
    id: "event-1",
    type: "flead.anomaly.raised.v1",
    source: "/north/gw-1/pump-1",
    time: "1970-01-01T00:00:05.000Z",
    severitytext: "WARN",
    datacontenttype: "application/json",
    data: {
      alert_id: "alert-1",
      state: "active",
      severity: "major",
      score: 3,
      threshold: 2,
      confidence: 0.8,
      started_at: "1970-01-01T00:00:05.000Z",
      count: 1,
      contributors,
      quality: { clock: "stepped", late: true, missing: ["speed"] },
      model: { kind: "federated", global_version: 7, local_steps: 40 },
      ack: null,
    },
  });
  const cleared = clearEpisode(state, 6000).event;
  const off =
    cleared === null
      ? []
      : alertMessages({ ...origin, alertPrefix: null }, cleared, { id: "e", receivedAtMs: 0, clock: "synced" });
  expect(off).toHaveLength(2);
  expect(JSON.parse(off[0]?.payload ?? "")).toMatchObject({
    type: "flead.anomaly.cleared.v1",
    data: { alert_id: "alert-1", state: "cleared" },
  });
});

test("what the cooldown held back is raised by a row over the threshold, never by one under it", () => {
  expect(
    transcript(`
      1    active over   2.0 .95
      70   quiet  under  0.2 .10
      300  active over   1.4 .80
      371  active under  0.9 .50
      372  active over   1.3 .80
    `),
  ).toEqual([
    "1 raised a1 critical score 2 count 1",
    "70 cleared a1 critical score 2 count 1",
    "372 raised a2 major score 1.3 count 2",
  ]);
});
