import { expect, test } from "vitest";
import { stormMessages } from "../../agent/core/alert.ts";
import { calm, type StormState, stormAfterClear, stormAfterRaise } from "../../agent/core/storm.ts";
import { deviceId, gatewayId } from "../../learning/ids.ts";

/** A script of transitions on a gateway, `seconds raised|cleared device confidence?`, to what was said of storms. */
function transcript(devices: number, script: string): string[] {
  let state: StormState = calm;
  let storms = 0;
  const said: string[] = [];
  for (const line of script.trim().split("\n")) {
    const [seconds = "", what, device = "", confidence = ".5"] = line.trim().split(/\s+/);
    const atMs = Number(seconds) * 1000;
    const member = { alertId: `a-${device}`, deviceId: deviceId(device), kind: "federated" as const };
    const step =
      what === "raised"
        ? stormAfterRaise(
            state,
            { ...member, startedAtMs: atMs, confidence: Number(confidence) },
            { devices, newAlertId: () => `s${++storms}` },
          )
        : stormAfterClear(state, member.alertId, atMs);
    state = step.state;
    const joined = step.joined.map((each) => each.deviceId).join(" ");
    const { kind, storm } = step.event ?? { kind: joined === "" ? null : "joined", storm: state.storm };
    if (kind === null || storm === null) continue;
    said.push(
      `${seconds} ${kind} ${storm.alertId} ${storm.severity} count ${storm.count} share ${storm.share}: ${joined}`,
    );
  }
  return said;
}

test("more than a fifth of the devices within a minute are a storm, which is over when all of them are", () => {
  expect(
    transcript(
      15,
      `
      0    raised  d1
      10   raised  d2  .8
      20   raised  d3
      59   raised  d4
      60   raised  d5  .95
      110  cleared d2
      115  raised  d6
      120  raised  d7
      200  cleared d1
      201  cleared d3
      202  cleared d4
      203  cleared d5
      204  cleared d6
      210  cleared d7
      `,
    ),
  ).toEqual([
    "59 raised s1 major count 4 share 0.26666666666666666: d1 d2 d3 d4",
    "60 joined s1 critical count 5 share 0.3333333333333333: d5",
    "115 joined s1 critical count 6 share 0.3333333333333333: d6",
    "120 updated s1 critical count 7 share 0.4: d7",
    "210 cleared s1 critical count 7 share 0.4: ",
  ]);
});

test("a fifth is no storm, nor are devices that raise one after another, or that were cleared meanwhile", () => {
  const three = "0 raised d1\n1 raised d2\n2 raised d3";
  expect(transcript(15, three)).toEqual([]);
  expect(transcript(14, three)).toHaveLength(1);
  expect(transcript(14, "0 raised d1\n30 raised d2\n61 raised d3\n95 raised d4")).toEqual([]);
  expect(transcript(14, "0 raised d1\n1 cleared d1\n2 raised d2\n3 raised d3")).toEqual([]);
});

test("two devices are told one by one, however few there are, and one device's models count once", () => {
  expect(transcript(2, "0 raised d1\n1 raised d2")).toEqual([]);
  expect(transcript(4, "0 raised d1\n1 raised d1\n2 raised d2")).toEqual([]);
  expect(transcript(3, "0 raised d1\n1 raised d2\n2 raised d3")).toHaveLength(1);
});

test("when few are left of a storm others are told by themselves, until they are many again", () => {
  const storm = "0 raised d1\n1 raised d2\n2 raised d3";
  const few = `${storm}\n50 cleared d1\n51 cleared d2`;
  expect(transcript(10, `${few}\n300 raised d4\n400 raised d5\n500 cleared d3`)).toEqual([
    "2 raised s1 minor count 3 share 0.3: d1 d2 d3",
    "500 cleared s1 minor count 3 share 0.3: ",
  ]);
  expect(transcript(10, `${few}\n300 raised d4\n301 raised d5\n302 raised d6`).slice(1)).toEqual([
    "302 updated s1 minor count 6 share 0.4: d4 d5 d6",
  ]);
});

test("a storm is told in the form of an alert, in the gateway's name, with its devices", () => {
  const raise = (state: StormState, device: number) =>
    stormAfterRaise(
      state,
      {
        alertId: `a${device}`,
        deviceId: deviceId(`pump-${device}`),
        kind: "z_score",
        startedAtMs: 1000 * device,
        confidence: 0.8,
      },
      { devices: 3, newAlertId: () => "s1" },
    );
  const { event, state } = raise(raise(raise(calm, 1).state, 2).state, 3);
  const origin = { site: "north", gatewayId: gatewayId("gw-1"), alertPrefix: "alerts" };
  const messages =
    event === null ? [] : stormMessages(origin, event, { id: "e1", active: state.members.size, clock: "synced" });
  expect(messages.map(({ topic, retain }) => [topic, retain])).toEqual([
    ["flead/v1/north/gw-1/alert/gw-1/storm", true],
    ["flead/v1/north/gw-1/event/gw-1/storm", false],
    ["alerts/gw-1", false],
  ]);
  expect(JSON.parse(messages[0]?.payload ?? "")).toEqual({
    specversion: "1.0",
    id: "e1",
    type: "flead.anomaly.raised.v1",
    source: "/north/gw-1",
    time: "1970-01-01T00:00:03.000Z",
    severitytext: "WARN",
    datacontenttype: "application/json",
    data: {
      alert_id: "s1",
      state: "active",
      severity: "major",
      score: 1,
      threshold: 0.2,
      confidence: 0.8,
      started_at: "1970-01-01T00:00:01.000Z",
      count: 3,
      active: 3,
      devices: ["pump-1", "pump-2", "pump-3"],
      contributors: [],
      quality: { clock: "synced", late: false, missing: [] },
      model: { kind: "storm", global_version: 0, local_steps: 0 },
      ack: null,
    },
  });
});
