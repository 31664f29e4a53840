// What is kept of a champion's drift in each home of the database, and what is told of it.
import { beforeEach, expect, test } from "vitest";
import { postgresLiveDrift } from "../../coordinator/adapters/postgres-live-drift.ts";
import { postgresLiveWindows } from "../../coordinator/adapters/postgres-live-windows.ts";
import type { Drift } from "../../coordinator/core/drift.ts";
import type { DriftRecord } from "../../coordinator/ports/live-drift.ts";
import { cohortId, deviceId } from "../../learning/ids.ts";
import { addCohort, PLAN_ID } from "../support/fleet-rows.ts";
import { onEveryHome } from "../support/homes.ts";

const REF = deviceId("ref-1");
const STEADY: Drift = { championVersion: 3, quality: 0.8, reference: 0.8, windowsBelow: 0, drifted: false };
const DRIFTED: Drift = { ...STEADY, quality: 0.5, windowsBelow: 3, drifted: true };
const ROLLBACK = { drop: 0.1, windows: 3, rows: 2_000, action: "rollback" } as const;

onEveryHome((home) => {
  let cohort = cohortId("cohort-0");
  let cohorts = 0;
  const db = () => home.database.kysely;
  const store = () => postgresLiveDrift(db());
  const record = (change: Partial<DriftRecord>) =>
    store().record(cohort, REF, {
      drift: STEADY,
      turn: null,
      settings: ROLLBACK,
      evaluatedRows: 900,
      why: null,
      lastVersion: 4,
      ...change,
    });
  const due = async () => (await store().due()).filter((each) => each.cohort === cohort);
  const audit = async () => {
    const rows = db().selectFrom("audit_log").select(["action", "detail"]).orderBy("id");
    const own = await rows.where("subject", "=", `cohort/${cohort}/live/ref-1`).execute();
    return own.map(({ action, detail }) => `${action}: ${(detail as { outcome?: string }).outcome ?? "-"}`);
  };
  const addModel = (version: number, change: object = {}) =>
    db()
      .insertInto("federated_models")
      .values({
        cohort,
        global_version: version,
        plan_id: PLAN_ID,
        num_devices: 0,
        num_gateways: 0,
        total_samples: 0,
        rule: version === 1 ? "initial" : "fedavg",
        weights: Buffer.alloc(4),
        status: "champion",
        parent_version: version > 1 ? version - 1 : null,
        ...change,
      })
      .execute();

  beforeEach(async () => {
    cohort = cohortId(`cohort-${cohorts++}`);
    await addCohort(db(), cohort, 3);
  });

  test("a drift is there as it was recorded, with one audit row where it begins and one where it ends", async () => {
    expect(await store().of(cohort, REF)).toBeNull();
    for (const drift of [STEADY, { ...STEADY, quality: 0.6, windowsBelow: 2 }]) {
      await record({ drift });
      expect(await store().of(cohort, REF)).toEqual(drift);
    }
    await record({ drift: DRIFTED, turn: "drifted", settings: { ...ROLLBACK, action: "event" } });
    await record({ drift: { ...DRIFTED, windowsBelow: 4 } });
    expect(await store().of(cohort, REF)).toEqual({ ...DRIFTED, windowsBelow: 4 });
    expect(await due(), "an event asks for nothing").toEqual([]);
    await record({ drift: STEADY, turn: "recovered" });
    expect(await store().of(cohort, REF)).toEqual(STEADY);
    expect(await audit()).toEqual(["drift.detected: -", "drift.recovered: -"]);
  });

  test("what a drift asks for is due until it is done, once", async () => {
    await record({ drift: DRIFTED, turn: "drifted" });
    await record({ drift: DRIFTED });
    const [action, ...others] = await due();
    expect(others).toEqual([]);
    const figures = { championVersion: 3, quality: 0.5, reference: 0.8, evaluatedRows: 900, lastVersion: 4 };
    expect(action).toEqual({ cohort, device: REF, action: "rollback", ...figures });
    if (action === undefined) return;
    await store().done(action, "as it was asked for");
    await store().done(action, "again");
    expect(await due()).toEqual([]);
    expect(await audit()).toEqual(["drift.detected: -", "drift.rollback: as it was asked for"]);
  });

  test.each<[string, Partial<DriftRecord>, string]>([
    ["recovers", { drift: STEADY, turn: "recovered" }, "it recovered"],
    [
      "is champion no longer",
      { drift: { ...STEADY, championVersion: 5, quality: null, reference: null }, why: "not yet" },
      "version 5 is champion by now",
    ],
  ])("a champion that %s is not acted upon any more", async (_, change, outcome) => {
    await record({ drift: DRIFTED, turn: "drifted" });
    await record(change);
    expect(await due()).toEqual([]);
    expect(await audit()).toContain(`drift.rollback: ${outcome}`);
  });

  test("what a champion came from is found past copies and what was rolled back", async () => {
    await addModel(1);
    await addModel(2);
    await addModel(3);
    await addModel(4, { status: "rolled_back" });
    await addModel(5, { parent_version: 4, origin_version: 3 }); // a rollback to 3
    await addModel(6, { parent_version: 4, status: "champion" });
    const parent = (version: number) => store().parentOf(cohort, version);
    expect(await parent(1)).toBeNull();
    expect(await parent(2)).toEqual({ version: 1, trained: false });
    expect(await parent(3)).toEqual({ version: 2, trained: true });
    expect(await parent(5), "of what it is a copy of").toEqual({ version: 2, trained: true });
    expect(await parent(6), "4 was rolled back").toEqual({ version: 3, trained: true });
  });

  test("each live stream of the plan is told of, measured or not", async () => {
    await expect(store().list(cohortId("nobody"))).rejects.toThrow(/there is no cohort nobody/);
    expect(await store().list(cohort)).toEqual([]);
    const live = ["ref-2", "ref-1"].map((device) => ({ device, topic: device }));
    await db()
      .updateTable("cohort_plans")
      .set({ federation: JSON.stringify({ live }) })
      .where("cohort", "=", cohort)
      .execute();
    const rows = [0, 1].map((n) => ({ atMs: n, values: Float64Array.of(n), label: n === 1 ? (1 as const) : null }));
    const losses = { lateRows: 1, lateLabels: 2, droppedRows: 3, droppedLabels: 4 };
    await postgresLiveWindows(db()).add(cohort, REF, ["flow"], { startMs: 0, endMs: 10, rows, losses });
    expect((await store().list(cohort))[1]).toMatchObject({
      state: "not evaluated",
      why: "no window was measured yet",
    });
    await record({ drift: DRIFTED, turn: "drifted" });
    const [unmeasured, drifted] = await store().list(cohort);
    const nothing = { windows: 0, rows: 0, lateRows: 0, quality: null, reference: null, lastWindowEnd: null };
    expect(unmeasured).toMatchObject({
      stream: "live/ref-2",
      state: "not evaluated",
      why: "no window is stored",
      ...nothing,
    });
    expect(drifted).toMatchObject({ stream: "live/ref-1", state: "drifted", quality: 0.5, dueAction: "rollback" });
    expect(drifted).toMatchObject({ windows: 1, rows: 2, labelledRows: 1, anomalies: 1, ...losses });
    await record({ drift: STEADY, why: "no stored row has a label", evaluatedRows: 0 });
    const [, silent] = await store().list(cohort);
    expect(silent).toMatchObject({ state: "not evaluated", why: "no stored row has a label", quality: null });
    await store().notEvaluated(cohort, REF, "no broker");
    expect((await store().list(cohort))[1]).toMatchObject({ why: "no broker", reference: 0.8, quality: null });
  });
});
