import { sql } from "kysely";
import { beforeEach, describe, expect, test } from "vitest";
import { postgresGatewayStore } from "../../coordinator/adapters/postgres-gateway-store.ts";
import { postgresModelActions } from "../../coordinator/adapters/postgres-model-actions.ts";
import type { CohortState } from "../../coordinator/core/cohort-state.ts";
import { cohortId, gatewayId, type PlanId } from "../../learning/ids.ts";
import { BY_TEST } from "../support/cohort-state.ts";
import { onEveryHome } from "../support/homes.ts";
import { smallSettings } from "../support/small-plan.ts";
import { StoreRounds } from "../support/store-rounds.ts";

const FIRST = smallSettings();
const SECOND = { ...FIRST, commissioningRows: 20 };
const THIRD = { ...FIRST, commissioningRows: 30 };
const A_DAY = 86_400_000;

onEveryHome((home) => {
  let rounds: StoreRounds;
  let nth = 0;
  let first: CohortState;
  let second: CohortState;
  const db = () => home.database.kysely;

  const plans = async () => {
    const found = await rounds.store.loadPlans(rounds.cohort);
    return found.map(({ state, planId, champion, lastVersion }) => [state, planId, champion.version, lastVersion]);
  };
  const under = async (plan: PlanId) => {
    const state = await rounds.store.loadCohort(rounds.cohort, plan);
    if (state === null) throw new Error(`the cohort does not learn by ${plan}`);
    return state;
  };
  const saysItHolds = (gateway: string, planId: string) =>
    postgresGatewayStore(db(), { replicaId: "r", version: "1", alone: true }).connected({
      gatewayId: gatewayId(gateway),
      site: "lab",
      agentVersion: "1",
      cohorts: [
        { cohort: rounds.cohort, planId, globalVersion: 1, devices: [], candidate: null, previousVersion: null },
      ],
    });
  const statusesOf = async (ids: readonly string[]) =>
    db().selectFrom("local_models").select(["status", "reason"]).where("update_id", "in", ids).orderBy("id").execute();
  const audited = async () =>
    db()
      .selectFrom("audit_log")
      .select(["action", "subject", "detail"])
      .where("subject", "like", `cohort/${rounds.cohort}/plan/%`)
      .orderBy("id")
      .execute();

  beforeEach(async () => {
    rounds = new StoreRounds(home.database, cohortId(`plans-${++nth}`));
    await rounds.define(FIRST);
    first = await rounds.state();
    await rounds.round();
    await rounds.define(SECOND);
    second = await rounds.state();
  });

  describe("a cohort that changes its plan", () => {
    test("learns by the new one from its initial weights, and the old one goes on where it was", async () => {
      expect(await plans()).toEqual([
        ["active", second.planId, 3, 3],
        ["leaving", first.planId, 2, 3],
      ]);
      expect(second.champion.trained).toBe(false);
      expect((await audited()).map(({ action, subject }) => [action, subject])).toEqual([
        ["plan.activate", `cohort/${rounds.cohort}/plan/${first.planId}`],
        ["plan.activate", `cohort/${rounds.cohort}/plan/${second.planId}`],
      ]);
    });

    test("has rounds under both, each of its own updates, with versions that only rise", async () => {
      const ofSecond = await rounds.push(["gw-c", "gw-d"]);
      const ofFirst = await rounds.push(["gw-a", "gw-b"], 0.01, { under: await under(first.planId) });
      expect((await rounds.store.openRound(await under(first.planId))).updates).toBe(2);
      await rounds.run(await under(first.planId));
      expect(await statusesOf(ofFirst)).toMatchObject([{ status: "aggregated" }, { status: "aggregated" }]);
      expect(await statusesOf(ofSecond)).toMatchObject([{ status: "accepted" }, { status: "accepted" }]);
      await rounds.run(await under(second.planId));
      expect(await plans()).toEqual([
        ["active", second.planId, 5, 5],
        ["leaving", first.planId, 4, 5],
      ]);
      expect((await under(first.planId)).championVersions).toEqual([1, 2, 4]);
      expect((await under(second.planId)).championVersions).toEqual([3, 5]);
    });

    test("refuses a round that was computed before the other plan's was recorded", async () => {
      await rounds.push(["gw-c", "gw-d"]);
      await rounds.push(["gw-a", "gw-b"], 0.01, { under: await under(first.planId) });
      const before = await under(second.planId);
      await rounds.run(await under(first.planId));
      await expect(rounds.run(before)).rejects.toThrow(/no longer at revision/);
    });

    test("takes the old one up again with its champion and history", async () => {
      await rounds.define(FIRST);
      expect(await plans()).toEqual([
        ["active", first.planId, 2, 3],
        ["leaving", second.planId, 3, 3],
      ]);
      expect((await rounds.round()).cohort.champion.version).toBe(4);
    });

    test("is not taken back to it by a coordinator that is started with its file again", async () => {
      const before = await plans();
      const bundle = (await rounds.store.planBundle(first.planId)) ?? new Uint8Array();
      const definition = { ...first, bundle, initialWeights: first.champion.weights };
      const order = { ...BY_TEST, again: false };
      const active = await rounds.store.defineCohort(rounds.cohort, definition, first.federation, order);
      expect(active).toBe(second.planId);
      expect(await plans()).toEqual(before);
    });

    test("leaves a plan at once when a third one comes, and knows it as left", async () => {
      const waiting = await rounds.push(["gw-a"], 0.01, { under: await under(first.planId) });
      await rounds.define(THIRD);
      const third = await rounds.state();
      expect((await plans()).map(([state, plan]) => [state, plan])).toEqual([
        ["active", third.planId],
        ["leaving", second.planId],
      ]);
      expect(third.leftPlans).toEqual([first.planId]);
      expect(await statusesOf(waiting)).toEqual([
        { status: "refused", reason: "plan_left: the cohort has left its plan" },
      ]);
      await rounds.define(FIRST);
      expect((await rounds.state()).champion).toMatchObject({ version: 2, trained: true });
    });

    test("keeps a pin with its plan: an operator acts on the active one", async () => {
      const order = { cohort: rounds.cohort, actor: "ada", reason: "audit", expectedChampion: null };
      await postgresModelActions(db()).act({ ...order, action: { kind: "pin" } });
      expect((await under(second.planId)).pin).toEqual({ by: "ada", reason: "audit" });
      expect((await under(first.planId)).pin).toBeNull();
      await expect(
        postgresModelActions(db()).act({ ...order, action: { kind: "promote", version: 2 } }),
      ).rejects.toThrow(/pinned/);
    });
  });

  describe("a plan that is being left", () => {
    test("is kept while a gateway that was seen lately holds it, and left when none does", async () => {
      await saysItHolds(`${rounds.cohort}-gw`, first.planId);
      await rounds.store.leavePlans(A_DAY);
      expect(await plans()).toHaveLength(2);
      const waiting = await rounds.push(["gw-a"], 0.01, { under: await under(first.planId) });
      const { revision } = await rounds.state();
      await saysItHolds(`${rounds.cohort}-gw`, second.planId);
      expect(await rounds.store.leavePlans(A_DAY)).toBeGreaterThan(0);
      expect((await plans()).map(([state, plan]) => [state, plan])).toEqual([["active", second.planId]]);
      expect((await rounds.state()).revision).toBeGreaterThan(revision);
      expect(await statusesOf(waiting)).toMatchObject([{ status: "refused" }]);
      expect((await audited()).at(-1)).toMatchObject({
        action: "plan.leave",
        detail: { reason: "no gateway holds it any more" },
      });
    });

    test("is not kept by a gateway that was not seen for too long", async () => {
      await saysItHolds(`${rounds.cohort}-gw`, first.planId);
      await sql`UPDATE gateways SET last_seen_at = now() - interval '2 days'
        WHERE gateway_id = ${`${rounds.cohort}-gw`}`.execute(db());
      await rounds.store.leavePlans(A_DAY);
      expect(await plans()).toHaveLength(1);
    });

    test("is left at its deadline, whoever holds it", async () => {
      await saysItHolds(`${rounds.cohort}-gw`, first.planId);
      await sql`UPDATE cohort_plans SET leave_by = now() WHERE cohort = ${rounds.cohort} AND state = 'leaving'`.execute(
        db(),
      );
      await rounds.store.leavePlans(A_DAY);
      expect(await plans()).toHaveLength(1);
      expect((await audited()).at(-1)?.detail).toEqual({ reason: "its deadline came" });
    });

    test("gets no update counted that another replica let in after it was left", async () => {
      const left = await under(first.planId);
      await rounds.store.leavePlans(A_DAY);
      const late = await rounds.push(["gw-a"], 0.01, { under: left });
      await rounds.store.leavePlans(A_DAY);
      expect(await statusesOf(late)).toMatchObject([{ status: "refused" }]);
    });

    test("is there, as is the active one, after a restart", async () => {
      const before = await plans();
      await home.reopen();
      rounds = new StoreRounds(home.database, rounds.cohort);
      expect(await plans()).toEqual(before);
    });
  });
});
