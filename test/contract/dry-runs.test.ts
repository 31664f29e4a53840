// Dry runs in each home of the database: real plans in onnxruntime on real held-out streams, and what activation makes of them.
import { beforeEach, expect, test } from "vitest";
import { stringify } from "yaml";
import { postgresDryRuns } from "../../coordinator/adapters/postgres-dry-runs.ts";
import { postgresHeldOutStreams } from "../../coordinator/adapters/postgres-held-out-streams.ts";
import { postgresPlans } from "../../coordinator/adapters/postgres-plans.ts";
import { compilePlan } from "../../learning/compile-plan.ts";
import { cohortId, deviceId, type PlanId } from "../../learning/ids.ts";
import { rowsToCalibrate } from "../../learning/monitor.ts";
import type { PlanSettings } from "../../learning/plan.ts";
import { csvOf, HELD_OUT_LIMITS, plantStream } from "../support/held-out.ts";
import { onEveryHome } from "../support/homes.ts";
import { forestPlan, pumpPlan } from "../support/plan-settings.ts";
import { StoreRounds } from "../support/store-rounds.ts";

const { manifest } = compilePlan(pumpPlan);
const HEAD = rowsToCalibrate(manifest);
/** The same layout of weights, commissioned longer. */
const SLOWER: PlanSettings = { ...pumpPlan, commissioningRows: 120 };
const WIDER: PlanSettings = { ...pumpPlan, model: { kind: "dense_autoencoder", hidden: [4] } };
const OTHER_CHANNELS: PlanSettings = { ...pumpPlan, channels: [...pumpPlan.channels, { name: "noise", unit: "dB" }] };
const LONG_HEAD: PlanSettings = { ...pumpPlan, commissioningRows: 5000 };
const LABELLED: PlanSettings = {
  ...pumpPlan,
  model: { kind: "classifier", hidden: [] },
  training: { ...pumpPlan.training, loss: { kind: "cross_entropy" } },
  threshold: { rule: { kind: "fixed", threshold: 0.5 }, rows: 30 },
};
const going = new AbortController().signal;

onEveryHome((home) => {
  let rounds: StoreRounds;
  let nth = 0;
  const db = () => home.database.kysely;
  const heldOut = () => postgresHeldOutStreams(db(), { limits: HELD_OUT_LIMITS, manifestOf: () => manifest });
  const dryRuns = (maxMs = 60_000) => postgresDryRuns(db(), heldOut(), maxMs);
  const plans = () => postgresPlans(db(), rounds.store, dryRuns());
  const freeze = async (pump: number) => {
    const csv = Buffer.from(csvOf(plantStream(pump, HEAD + 150, HEAD + 60)));
    await heldOut().upload(rounds.cohort, deviceId(`pump-${pump}`), csv, "ada");
    return heldOut().freeze(rounds.cohort, deviceId(`pump-${pump}`), "ada");
  };
  const uploaded = async (plan: PlanSettings) =>
    (await plans().upload(stringify({ cohort: rounds.cohort, plan }), "ada")).planId;
  const order = (planId: PlanId) => ({ cohort: rounds.cohort, planId, actor: "ada" });
  const tried = async (plan: PlanSettings) => dryRuns().run(order(await uploaded(plan)), going);
  const activate = (planId: PlanId, force = false) =>
    plans().activate({ ...order(planId), federation: undefined, leaveAfterMs: 1000, force, reason: "why not" });
  const audited = async (action: string) =>
    (
      await db()
        .selectFrom("audit_log")
        .select(["subject", "detail"])
        .where("action", "=", action)
        .where("subject", "like", `cohort/${rounds.cohort}/%`)
        .orderBy("id")
        .execute()
    ).map(({ detail }) => detail);

  beforeEach(async () => {
    rounds = new StoreRounds(home.database, cohortId(`tried-${++nth}`));
    await rounds.define(pumpPlan);
  });

  test("a plan is measured on every frozen stream, beside the trained champion, carried over and under its own plan", async () => {
    await rounds.round();
    const frozen = [await freeze(1), await freeze(2)];
    const before = await rounds.state();
    const run = await tried(SLOWER);
    expect(run).toMatchObject({
      passed: true,
      failures: [],
      cohort: rounds.cohort,
      actor: "ada",
      begin: { version: null, trained: false, scores: { n: 2 * (150 - 20) } },
      carried: { version: 2, trained: true, scores: { n: 2 * (150 - 20) } },
      champion: { planId: before.planId, version: 2, trained: true, scores: { n: 2 * 150 } },
      baselines: { alwaysNormal: { n: 2 * (150 - 20) } },
    });
    expect(run.streams.map(({ stream, sha256 }) => [stream, sha256])).toEqual(
      frozen.map(({ name, sha256 }) => [name, sha256]),
    );
    expect(run.streams[0]).toMatchObject({ begin: { n: 130 }, carried: { n: 130 }, champion: { n: 150 } });
    expect(await rounds.state()).toEqual(before);
    expect(await audited("plan.dry_run")).toEqual([{ dryRunId: run.dryRunId, passed: true, set: run.set }]);
    expect((await tried(WIDER)).carried).toBeNull();
  });

  test.each([
    ["a forest", forestPlan],
    ["a classifier", LABELLED],
  ])("%s is tried by its own training", async (_what, plan) => {
    await freeze(1);
    expect(await tried(plan)).toMatchObject({ passed: true, failures: [], begin: { version: null } });
  });

  test("it fails where a stream lacks a channel or is too short, and says which", async () => {
    await freeze(1);
    expect(await tried(OTHER_CHANNELS)).toMatchObject({
      passed: false,
      failures: [{ fault: "missing_channel", stream: "pump-1", detail: expect.stringContaining('"noise"') }],
      begin: { scores: null },
      streams: [],
    });
    expect(await tried(LONG_HEAD)).toMatchObject({
      passed: false,
      failures: [{ fault: "unusable_stream", stream: "pump-1", detail: expect.stringContaining("only calibrate") }],
    });
  });

  test("without frozen streams a plan passes on its graphs alone, also for a cohort that is yet to begin", async () => {
    const unmeasured = { passed: true, set: null, begin: { scores: null }, baselines: null, streams: [] };
    expect(await tried(OTHER_CHANNELS)).toMatchObject({ ...unmeasured, champion: { scores: null } });
    const planId = await uploaded(forestPlan);
    const newcomer = cohortId(`${rounds.cohort}-new`);
    const run = await dryRuns().run({ cohort: newcomer, planId, actor: "ada" }, going);
    expect(run).toMatchObject({ ...unmeasured, champion: null });
  });

  test("a plan that the cohort had before is tried as it would go on", async () => {
    await freeze(1);
    await rounds.round();
    const first = await rounds.state();
    await rounds.define(SLOWER);
    const run = await dryRuns().run(order(first.planId), going);
    expect(run).toMatchObject({ begin: { version: 2, trained: true }, champion: { version: 3, trained: false } });
  });

  test("it ends in time, or when nobody waits any more; meanwhile no other one begins", async () => {
    await freeze(1);
    const planId = await uploaded(SLOWER);
    const late = await dryRuns(1).run(order(planId), going);
    expect(late).toMatchObject({ passed: false, failures: [{ fault: "out_of_time" }] });

    const runs = dryRuns();
    const gone = new AbortController();
    const first = runs.run(order(planId), gone.signal);
    await expect(runs.run(order(planId), going)).rejects.toThrow(/a dry run is running/);
    gone.abort(new Error("gone"));
    await expect(first).rejects.toThrow("gone");
    const kept = (await runs.ofPlan(planId)).filter(({ cohort }) => cohort === rounds.cohort);
    expect(kept.map(({ dryRunId }) => dryRunId)).toEqual([late.dryRunId]);
    expect(await runs.run(order(planId), going)).toMatchObject({ passed: true });
  });

  test("of a plan and cohort the last 20 are kept", async () => {
    const planId = await uploaded({ ...SLOWER, commissioningRows: 130 });
    const runs = dryRuns();
    const ids: number[] = [];
    for (let run = 0; run < 22; run++) ids.push((await runs.run(order(planId), going)).dryRunId);
    expect((await runs.ofPlan(planId)).map(({ dryRunId }) => dryRunId)).toEqual(ids.reverse().slice(0, 20));
    expect(await runs.one(planId, ids.at(-1) ?? 0)).toBeNull();
  });

  test("a plan is activated after it passed on the streams as they are now, or by force, and the audit log says which", async () => {
    await freeze(1);
    const planId = await uploaded({ ...SLOWER, commissioningRows: 110 });
    await expect(activate(planId)).rejects.toThrow(/has no dry run.*flead plan dry-run.*--force/);
    await dryRuns().run(order(planId), going);
    await freeze(2);
    await expect(activate(planId)).rejects.toThrow(/streams as they are now/);
    const { dryRunId } = await dryRuns().run(order(planId), going);
    expect(await activate(planId)).toMatchObject({ planId });
    await activate(planId); // what it learns by needs none

    const wrong = await uploaded(OTHER_CHANNELS);
    await dryRuns().run(order(wrong), going);
    await expect(activate(wrong)).rejects.toThrow(/failed its last dry run.*missing_channel/);
    expect((await rounds.state()).planId).toBe(planId);
    await activate(wrong, true);
    expect((await audited("plan.activate")).slice(1)).toMatchObject([{ dryRun: dryRunId }, { dryRun: "forced" }]);
  });
});
