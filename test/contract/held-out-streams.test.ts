// Held-out streams in each home of the database: drafts, frozen ones, and what a folder gives.
import { mkdirSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { beforeEach, expect, test } from "vitest";
import { followFrozenStreams } from "../../coordinator/adapters/frozen-streams.ts";
import { importFolder } from "../../coordinator/adapters/held-out-folder.ts";
import { postgresHeldOutStreams } from "../../coordinator/adapters/postgres-held-out-streams.ts";
import { postgresServedDevices } from "../../coordinator/adapters/postgres-served-devices.ts";
import { compilePlan } from "../../learning/compile-plan.ts";
import { cohortId, deviceId } from "../../learning/ids.ts";
import { rowsToCalibrate } from "../../learning/monitor.ts";
import { createLogger } from "../../runtime/log.ts";
import { addCohort, addGateway } from "../support/fleet-rows.ts";
import { csvOf, HELD_OUT_LIMITS, plantStream } from "../support/held-out.ts";
import { onEveryHome } from "../support/homes.ts";
import { pumpPlan } from "../support/plan-settings.ts";
import { temporaryFolder } from "../support/temp.ts";

const log = createLogger("test", "silent");
const { manifest } = compilePlan(pumpPlan);
const HEAD = rowsToCalibrate(manifest);
const csv = (pump: number, rows = HEAD + 100) => Buffer.from(csvOf(plantStream(pump, rows, HEAD + 20)));
const NAME = deviceId("pump-9");

onEveryHome((home) => {
  let cohort = cohortId("cohort-0");
  let cohorts = 0;
  const db = () => home.database.kysely;
  const streams = (limits = HELD_OUT_LIMITS) =>
    postgresHeldOutStreams(db(), { limits, manifestOf: (of) => (of === cohort ? manifest : undefined) });
  const upload = (content: Uint8Array, name = NAME) => streams().upload(cohort, name, content, "ada");
  const uploadFrozen = async (content: Uint8Array, name = NAME) => {
    await upload(content, name);
    return streams().freeze(cohort, name, "ada");
  };
  const revisions = async () =>
    (await streams().list({ limit: 50, after: null, cohort })).items.map(({ name, state, sha256 }) => [
      name,
      state,
      sha256,
    ]);
  const audit = async () => {
    const rows = db().selectFrom("audit_log").select(["actor", "action"]).orderBy("id");
    return (await rows.where("subject", "like", `cohort/${cohort}/%`).execute()).map(
      ({ actor, action }) => `${actor}: ${action}`,
    );
  };

  beforeEach(() => {
    cohort = cohortId(`cohort-${cohorts++}`);
  });

  test("an upload is a draft, and evaluated on once it is frozen, byte for byte as it was given", async () => {
    const given = csv(9);
    const draft = await upload(given);
    expect(draft).toMatchObject({ state: "draft", source: "upload", rows: HEAD + 100, bytes: given.length });
    expect(draft.anomalies).toBeGreaterThan(0);
    expect(await streams().frozen(cohort)).toEqual([]);
    const frozen = await streams().freeze(cohort, NAME, "ada");
    expect(frozen).toMatchObject({ sha256: draft.sha256, state: "frozen", frozenAt: expect.any(String) });
    expect(await streams().frozen(cohort)).toEqual([{ stream: NAME, sha256: draft.sha256 }]);
    expect(await streams().content(cohort, { stream: NAME, sha256: draft.sha256 })).toEqual(given);
    expect(await audit()).toEqual(["ada: held_out.upload", "ada: held_out.freeze"]);
  });

  test("a draft gives way to another upload; what is frozen does not, and the same content is no other", async () => {
    const first = await upload(csv(9));
    const second = await uploadFrozen(csv(8));
    expect(await revisions()).toEqual([[NAME, "frozen", second.sha256]]);
    await expect(upload(csv(9))).rejects.toMatchObject({
      fault: "refused",
      message: expect.stringMatching(/retire it/),
    });
    expect(await upload(csv(8))).toEqual(second);
    expect(first.sha256).not.toBe(second.sha256);
  });

  test("a retired stream stays as a row without content; its name is free, and its content may come again", async () => {
    const first = await uploadFrozen(csv(9));
    expect(await streams().retire(cohort, NAME, "ada")).toMatchObject({ state: "retired", sha256: first.sha256 });
    expect(await streams().frozen(cohort)).toEqual([]);
    expect(await streams().content(cohort, { stream: NAME, sha256: first.sha256 })).toBeNull();
    expect(await streams().one(cohort, NAME)).toMatchObject({ state: "retired" });
    await expect(streams().freeze(cohort, NAME, "ada")).rejects.toMatchObject({ fault: "unknown" });
    const second = await uploadFrozen(csv(8));
    expect(await streams().one(cohort, NAME)).toMatchObject({ state: "frozen", sha256: second.sha256 });
    await streams().retire(cohort, NAME, "ada");
    expect(await uploadFrozen(csv(9))).toMatchObject({ state: "frozen", retiredAt: null, sha256: first.sha256 });
    expect(await revisions()).toHaveLength(2);
  });

  test("what can't be evaluated on is refused, with line and column, and leaves nothing", async () => {
    const lines = csv(9).toString().split("\n");
    const broken = Buffer.from(lines.with(40, lines[40]?.replace(/,[^,]*,/, ",oops,") ?? "").join("\n"));
    await expect(upload(broken)).rejects.toMatchObject({
      fault: "unusable",
      message: expect.stringMatching(/^line 41: \w+ is "oops", not a finite number$/),
    });
    await expect(upload(csv(9, HEAD))).rejects.toMatchObject({ fault: "unusable" });
    await expect(streams().upload(cohortId("nobody"), NAME, csv(9), "ada")).rejects.toMatchObject({ fault: "unknown" });
    expect(await revisions()).toEqual([]);
  });

  test("streams, their number and all of a cohort's are bounded; retired ones don't count", async () => {
    const tight = { bytesAStream: csv(1).length + 500, bytesACohort: 2 * csv(1).length + 1000, streamsACohort: 2 };
    const put = (pump: number, limits = tight, rows = HEAD + 100) =>
      streams(limits).upload(cohort, deviceId(`pump-${pump}`), csv(pump, rows), "ada");
    await expect(put(1, tight, HEAD + 200)).rejects.toMatchObject({ fault: "too_large" });
    await put(1);
    await put(2);
    const full = { fault: "refused", message: expect.stringMatching(/2 held-out streams; allowed are 2/) };
    await expect(put(3)).rejects.toMatchObject(full);
    const bytes = { fault: "refused", message: expect.stringMatching(/bytes; allowed are/) };
    await expect(put(3, { ...tight, streamsACohort: 9 })).rejects.toMatchObject(bytes);
    await streams().retire(cohort, deviceId("pump-1"), "ada");
    expect(await put(3)).toMatchObject({ state: "draft" });
  });

  test("of two that upload under one name at once, one is the stream and the other is told", async () => {
    const answers = await Promise.allSettled([8, 9].map((pump) => uploadFrozen(csv(pump))));
    const held = (await revisions()).filter(([, state]) => state === "frozen");
    expect(held).toHaveLength(1);
    expect(answers.some(({ status }) => status === "fulfilled")).toBe(true);
  });

  test("a folder's files are frozen by whoever starts; a changed one takes its own place, never an upload's", async () => {
    const folder = temporaryFolder("held-out");
    const file = (name: string, content: Uint8Array) => {
      mkdirSync(join(folder, cohort), { recursive: true });
      writeFileSync(join(folder, cohort, name), content);
    };
    const start = () => importFolder({ streams: streams(), limits: HELD_OUT_LIMITS, log }, folder, cohort);
    const names = async () => (await streams().frozen(cohort)).map(({ stream }) => stream);
    const mine = await uploadFrozen(csv(9));
    file("pump-9.csv", csv(1));
    file("pump-1.csv", csv(1));
    file("broken.csv", Buffer.from("what,is,this"));
    await Promise.all([start(), start()]);
    expect(await names()).toEqual(["pump-1", NAME]);
    expect((await streams().one(cohort, NAME)).sha256).toBe(mine.sha256);
    const first = await streams().one(cohort, deviceId("pump-1"));
    await start();
    expect(await streams().one(cohort, deviceId("pump-1")), "the same file changes nothing").toEqual(first);
    file("pump-1.csv", csv(2));
    await start();
    const second = await streams().one(cohort, deviceId("pump-1"));
    expect(second).toMatchObject({ state: "frozen", source: "folder" });
    expect(second.sha256).not.toBe(first.sha256);
    file("pump-1.csv", csv(1));
    await start();
    expect((await streams().one(cohort, deviceId("pump-1"))).sha256, "an earlier revision may come back").toBe(
      first.sha256,
    );
    await streams().retire(cohort, deviceId("pump-1"), "ada");
    await start();
    expect(await names(), "what an operator retired stays retired").toEqual([NAME]);
  });

  test("the leader follows what is frozen, reads a stream once, and leaves out what the plan can't be measured on", async () => {
    const follow = followFrozenStreams(streams(), cohort, manifest, log);
    const none = await follow();
    expect(none).toEqual([]);
    expect(await follow()).toBe(none);
    await uploadFrozen(csv(9));
    const [one] = await follow();
    await uploadFrozen(csv(8), deviceId("pump-8"));
    const two = await follow();
    expect(two.map(({ stream }) => stream)).toEqual(["pump-8", NAME]);
    expect(two[1]).toBe(one);
    const other = { ...manifest, channels: [{ name: "unheard", unit: "" }] };
    expect(await followFrozenStreams(streams(), cohort, other, log)()).toEqual([]);
  });

  test("a gateway that serves a device of a held-out stream is told of once", async () => {
    const served = postgresServedDevices(db());
    await addCohort(db(), cohort, 1);
    await uploadFrozen(csv(9));
    await addGateway(db(), { gatewayId: `gw-${cohort}`, cohort: "another", devices: [NAME] });
    expect(await served.newlyServed()).toEqual([]);
    await addGateway(db(), { gatewayId: `gw-b-${cohort}`, cohort, devices: ["pump-1", NAME] });
    expect(await served.newlyServed()).toEqual([{ cohort, device: NAME, gatewayId: `gw-b-${cohort}` }]);
    expect(await served.newlyServed()).toEqual([]);
    expect(await audit()).toContain("coordinator: held_out.served");
    expect([await served.isServed(cohort, NAME), await served.isServed(cohort, "pump-2")]).toEqual([true, false]);
  });
});
