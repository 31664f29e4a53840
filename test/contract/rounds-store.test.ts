// What the database keeps of synchronous rounds, standings and the audit log, on a real PostgreSQL.
import { readFileSync } from "node:fs";
import { join } from "node:path";
import { sql } from "kysely";
import { expect, test } from "vitest";
import { postgresFederationStore } from "../../coordinator/adapters/postgres-federation-store.ts";
import { postgresGatewayStandings } from "../../coordinator/adapters/postgres-gateway-standings.ts";
import { postgresGatewayStore } from "../../coordinator/adapters/postgres-gateway-store.ts";
import { postgresInvitations } from "../../coordinator/adapters/postgres-invitations.ts";
import { afterRound, type CohortState } from "../../coordinator/core/cohort-state.ts";
import { FULL_STANDING, type GatewayStanding } from "../../coordinator/core/gateway-standing.ts";
import { RoundConflictError, type RoundRecord } from "../../coordinator/ports/federation-store.ts";
import { compilePlan } from "../../learning/compile-plan.ts";
import { noFleet } from "../../learning/fleet.ts";
import { type CohortId, cohortId, type GatewayId, gatewayId, updateId } from "../../learning/ids.ts";
import type { FederationSettings } from "../../learning/plan.ts";
import { encodeBundle } from "../../proto/plan-bundle.ts";
import { encodeWeights } from "../../proto/weights.ts";
import { packageRoot } from "../../runtime/package-root.ts";
import { BY_TEST, cohortState } from "../support/cohort-state.ts";
import { onEveryHome } from "../support/homes.ts";
import { testPlan } from "../support/plan-settings.ts";
import { roomyIntake } from "../support/roomy-intake.ts";

const compiled = compilePlan(testPlan);
const { planId, bytes } = encodeBundle(compiled);
const PLAN = { planId, bundle: bytes, manifest: compiled.manifest, initialWeights: compiled.initialWeights };
const FEDERATION: FederationSettings = {
  ...cohortState().federation,
  round: { mode: "synchronous", gateways: 2, overSelection: 0, minGateways: 2, deadlineMs: 60_000, maxStaleness: 3 },
};
const GATEWAYS = ["gw-1", "gw-2", "gw-3"].map((id) => gatewayId(id));

onEveryHome((home) => {
  const stores = () => {
    const { kysely } = home.database;
    return {
      store: postgresFederationStore(kysely, roomyIntake(home.database)),
      gateways: postgresGatewayStore(kysely, { replicaId: "replica", version: "1", alone: true }),
      invitations: postgresInvitations(kysely),
      standings: postgresGatewayStandings(kysely),
    };
  };

  const newCohort = async (name: string): Promise<CohortId> => {
    await stores().store.defineCohort(cohortId(name), PLAN, FEDERATION, BY_TEST);
    return cohortId(name);
  };

  const stateOf = async (cohort: CohortId): Promise<CohortState> => {
    const found = (await stores().store.loadCohorts()).find((state) => state.cohort === cohort);
    if (found === undefined) throw new Error("there is no such cohort");
    return found;
  };

  let updates = 0;
  const newUpdate = (cohort: CohortId, gateway: string, samples = 50) => ({
    updateId: updateId(`01${String(++updates).padStart(24, "0")}`),
    cohort,
    planId,
    gatewayId: gatewayId(gateway),
    baseVersion: 1,
    localSteps: 1,
    samples,
    loss: 1,
    encoding: "float32" as const,
    delta: encodeWeights(new Float32Array(compiled.initialWeights.length)),
  });

  const recordOf = async (before: CohortState, change: Partial<RoundRecord> = {}): Promise<RoundRecord> => {
    const candidate = {
      version: before.lastVersion + 1,
      weights: before.champion.weights,
      trained: true,
      fleet: noFleet,
    };
    const roundUpdates = await stores().store.roundUpdates(before);
    return {
      before,
      after: afterRound(before, candidate, true, before.rate, before.server),
      candidate,
      rule: "fedavg",
      verdict: "promoted",
      reason: "why",
      updates: roundUpdates,
      contributions: roundUpdates.map(({ updateId: id, gatewayId: gateway, baseVersion, samples }) => ({
        updateId: id,
        gatewayId: gateway,
        baseVersion,
        samples,
        stalenessWeight: 1,
        share: 1 / roundUpdates.length,
        part: "counted" as const,
      })),
      streams: [],
      heldOut: null,
      championHeldOut: null,
      baselines: null,
      evaluatedRows: [],
      feedback: [],
      standings: [],
      ...change,
    };
  };

  const audited = async (subject: string) =>
    home.database.kysely
      .selectFrom("audit_log")
      .select(["actor", "action", "detail"])
      .where("subject", "=", subject)
      .orderBy("id")
      .execute();

  const invite = async (cohort: CohortId, gateways: readonly GatewayId[]) => {
    const { invitation } = await stores().invitations.invite(await stateOf(cohort), gateways, 2);
    if (invitation === null) throw new Error("nobody was invited");
    return invitation;
  };

  test("an invitation is there after a restart, until the round of its number is recorded", async () => {
    const cohort = await newCohort("restarted");
    const made = await invite(cohort, GATEWAYS);
    await home.reopen();
    const before = await stateOf(cohort);
    expect(before.invitation).toEqual({ ...made, cohort, baseVersion: 1, gateways: GATEWAYS, wanted: 2 });
    expect(await stores().invitations.open(await stateOf(cohort))).toEqual(made);
    expect(made.untilMs).toBeGreaterThan(0);

    for (const gateway of ["gw-1", "gw-2"]) await stores().store.addUpdate(newUpdate(cohort, gateway));
    await stores().store.recordRound(await recordOf(before));
    const after = await stateOf(cohort);
    expect([after.invitation, after.champion.version]).toEqual([null, 2]);
    const rounds = await home.database.kysely
      .selectFrom("rounds")
      .select(["round_id", "global_version"])
      .where("cohort", "=", cohort)
      .execute();
    expect(rounds).toEqual([{ round_id: made.roundId, global_version: 2 }]);
  });

  test("rounds of all cohorts draw their numbers from one sequence, which only rises", async () => {
    const [first, second] = [await newCohort("first"), await newCohort("second")];
    const one = await invite(first, GATEWAYS);
    await stores().store.addUpdate(newUpdate(second, "gw-1"));
    await stores().store.recordRound(await recordOf(await stateOf(second)));
    const two = await invite(first, GATEWAYS.slice(0, 1));
    const [{ round_id }] = (await home.database.kysely
      .selectFrom("rounds")
      .select("round_id")
      .where("cohort", "=", second)
      .execute()) as [{ round_id: number }];
    expect([one.roundId, round_id, two.roundId]).toEqual([one.roundId, one.roundId + 1, one.roundId + 2]);
  });

  test("of two leaders that invite at the same time one is told that it no longer leads, and nothing is half-written", async () => {
    const cohort = await newCohort("contested");
    const before = await stateOf(cohort);
    const outcomes = await Promise.allSettled(GATEWAYS.map((id) => stores().invitations.invite(before, [id], 2)));
    expect(outcomes.filter(({ status }) => status === "fulfilled")).toHaveLength(1);
    for (const outcome of outcomes)
      if (outcome.status === "rejected") expect(outcome.reason).toBeInstanceOf(RoundConflictError);
    const { invitation } = await stateOf(cohort);
    expect(invitation?.gateways).toHaveLength(1);
    const invited = await home.database.kysely
      .selectFrom("gateway_standings")
      .select("gateway_id")
      .where("cohort", "=", cohort)
      .execute();
    expect(invited.map((row) => row.gateway_id)).toEqual(invitation?.gateways);

    // A leader of before can neither record nor end what it does not know of.
    const outdated = await stateOf(cohort);
    await invite(cohort, GATEWAYS);
    await expect(stores().invitations.end(outdated)).rejects.toThrow(RoundConflictError);
    await stores().store.addUpdate(newUpdate(cohort, "gw-1"));
    await expect(stores().store.recordRound(await recordOf(outdated))).rejects.toThrow(RoundConflictError);
    expect((await stateOf(cohort)).lastVersion).toBe(1);
    await stores().invitations.end(await stateOf(cohort));
    expect(await stores().invitations.open(await stateOf(cohort))).toBeNull();
  });

  test("ready are gateways that are connected, hold the plan, and have no update that waits", async () => {
    const cohort = await newCohort("ready");
    const { gateways, invitations, store } = stores();
    const connect = (id: string, plan: string, of: string = cohort) =>
      gateways.connected({
        gatewayId: gatewayId(id),
        site: "north",
        agentVersion: "1",
        cohorts: [{ cohort: of, planId: plan, globalVersion: 1, devices: [], candidate: null, previousVersion: null }],
      });
    await connect("gw-1", planId);
    await connect("gw-2", planId);
    await connect("gw-3", planId);
    await connect("gw-4", "0".repeat(64));
    await connect("gw-5", planId, "another");
    await connect("gw-6", planId);
    await gateways.disconnected(gatewayId("gw-6"));
    await store.addUpdate(newUpdate(cohort, "gw-2"));
    const { roundId } = await invite(cohort, [gatewayId("gw-3"), gatewayId("gw-6")]);
    expect(await invitations.ready(await stateOf(cohort))).toEqual([
      { gatewayId: "gw-1", lastInvitedRound: null },
      { gatewayId: "gw-3", lastInvitedRound: roundId },
    ]);
  });

  const standing = (value: number, reason: string | null = "why"): GatewayStanding => ({
    value,
    roundsApart: 1,
    reason,
  });

  test("a round's standings and factor are kept with it and in the audit log, or not at all", async () => {
    const cohort = await newCohort("standings");
    const before = await stateOf(cohort);
    await stores().store.addUpdate(newUpdate(cohort, "gw-1"));
    const changes = [
      { gatewayId: gatewayId("gw-1"), before: FULL_STANDING, after: standing(0.8) },
      { gatewayId: gatewayId("gw-2"), before: FULL_STANDING, after: { ...FULL_STANDING, roundsApart: 1 } },
    ];
    const record = await recordOf(before, { standings: changes });
    const rate = { factor: 1.05, smoothedQuality: 0.7, measuredOn: null };
    const nothing = { ...record, after: { ...record.after, rate }, updates: [] };
    await expect(stores().store.recordRound(nothing)).rejects.toThrow(RoundConflictError);
    expect((await stores().standings.of(cohort, ["gw-1"])).size).toBe(0);
    expect(await audited(`cohort/${cohort}/gateway/gw-1`)).toEqual([]);

    await stores().store.recordRound({ ...record, after: { ...record.after, rate } });
    expect(await stores().standings.of(cohort, ["gw-1", "gw-2", "gw-3"])).toEqual(
      new Map([
        ["gw-1", standing(0.8)],
        ["gw-2", { ...FULL_STANDING, roundsApart: 1 }],
      ]),
    );
    expect(await audited(`cohort/${cohort}/gateway/gw-1`)).toEqual([
      {
        actor: "coordinator",
        action: "gateway.standing",
        detail: { from: 1, to: 0.8, globalVersion: 2, reason: "why" },
      },
    ]);
    expect(await audited(`cohort/${cohort}/gateway/gw-2`)).toEqual([]);
    expect(await audited(`cohort/${cohort}`)).toEqual([
      {
        actor: "coordinator",
        action: "cohort.learning_rate_factor",
        detail: { from: 1, to: 1.05, globalVersion: 2, reason: "why" },
      },
    ]);
  });

  test("a standing that an operator reset while the round ran stays reset", async () => {
    const cohort = cohortId("standings");
    await stores().gateways.connected({ gatewayId: gatewayId("gw-1"), site: "", agentVersion: "", cohorts: [] });
    const before = await stateOf(cohort);
    await stores().store.addUpdate({ ...newUpdate(cohort, "gw-1"), baseVersion: 2 });
    expect(await stores().standings.reset(cohort, gatewayId("gw-1"), "operator")).toBe(true);
    const change = { gatewayId: gatewayId("gw-1"), before: standing(0.8), after: standing(0.64) };
    await stores().store.recordRound(await recordOf(before, { standings: [change] }));
    expect((await stores().standings.of(cohort, ["gw-1"])).get("gw-1")).toEqual(FULL_STANDING);
    const actions = (await audited(`cohort/${cohort}/gateway/gw-1`)).map(({ action }) => action);
    expect(actions).toEqual(["gateway.standing", "gateway.standing_reset"]);
    expect(await stores().standings.reset(cohort, gatewayId("nobody"), "operator")).toBe(false);
  });

  test("feedback stays open until it is acknowledged, however late, and a late word on an older one closes no newer", async () => {
    const cohort = await newCohort("feedback");
    const gateway = gatewayId("gw-1");
    const tell = async (version: number) => {
      await stores().store.addUpdate(newUpdate(cohort, gateway));
      const feedback = {
        cohort,
        planId: PLAN.planId,
        gatewayId: gateway,
        version,
        promoted: true,
        factor: 1 + version / 10,
        lossBefore: null,
        lossAfter: 0.5,
        trend: null,
        agreement: -0.25,
        reason: `why ${version}`,
      };
      await stores().store.recordRound(await recordOf(await stateOf(cohort), { feedback: [feedback] }));
      return feedback;
    };
    const open = async () => (await stores().gateways.openFeedback(gateway)).filter((each) => each.cohort === cohort);
    const acknowledge = (version: number) =>
      stores().gateways.acknowledgeFeedback([{ gatewayId: gateway, cohort, globalVersion: version }]);
    const [, third] = [await tell(2), await tell(3)];
    expect(await open()).toEqual([third]);
    await acknowledge(2);
    expect(await open()).toEqual([third]);
    await home.reopen();
    expect(await open()).toEqual([third]);
    await acknowledge(3);
    await acknowledge(3);
    await acknowledge(2);
    expect(await open()).toEqual([]);
    const fourth = await tell(4);
    expect(await open()).toEqual([fourth]);
  });

  test("samples are counted once: what is sent again, a rejected round and a restart add nothing", async () => {
    const cohort = await newCohort("samples");
    const given = [newUpdate(cohort, "gw-1", 50), newUpdate(cohort, "gw-2", 70), newUpdate(cohort, "gw-1", 30)];
    const addAll = async () => Promise.all(given.map((update) => stores().store.addUpdate(update)));
    expect(await addAll()).toEqual(["stored", "stored", "stored"]);
    expect(await addAll()).toEqual(["known", "known", "known"]);
    const before = await stateOf(cohort);
    const record = await recordOf(before);
    const after = afterRound(before, record.candidate, false, before.rate, before.server);
    await stores().store.recordRound({ ...record, verdict: "rejected", after });
    const candidate = { ...record.candidate, version: 3 };
    const again = { ...record, before: after, candidate, after: { ...after, lastVersion: 3 } };
    await expect(stores().store.recordRound(again)).rejects.toThrow(RoundConflictError);
    await home.reopen();
    expect(await addAll()).toEqual(["known", "known", "known"]);
    expect(await stores().store.roundUpdates(await stateOf(cohort))).toEqual([]);
    const counted = await sql<{ samples: number }>`SELECT sum(samples)::bigint AS samples FROM rounds
    WHERE cohort = ${cohort}`.execute(home.database.kysely);
    expect(counted.rows).toEqual([{ samples: 150 }]);
  });

  test("the settings of a cohort from before rounds had modes say what they meant", async () => {
    const cohort = await newCohort("earlier");
    const { gate, rule, optimiser } = FEDERATION;
    const round = { updates: 7, deadlineMs: 1000, minGateways: 2, maxStaleness: 3 };
    const migration = join(packageRoot, "coordinator/adapters/sql/005.do.rounds.sql");
    const statement =
      readFileSync(migration, "utf8")
        .match(/UPDATE cohorts[^;]*;/)?.[0]
        .replace("cohorts", "cohort_plans") ?? "";
    await sql`UPDATE cohort_plans SET federation = ${JSON.stringify({ round, gate, rule, optimiser })}::jsonb
    WHERE cohort = ${cohort}`.execute(home.database.kysely);
    await sql.raw(statement).execute(home.database.kysely);
    expect((await stateOf(cohort)).federation).toEqual({
      round: { mode: "buffered", ...round },
      samples: { rowsPerSecond: 2_000, burstMs: 86_400_000 },
      gate,
      rule,
      optimiser,
    });
    await sql.raw(statement).execute(home.database.kysely);
    const synchronous = (await stores().store.loadCohorts()).filter(
      ({ federation }) => federation.round.mode !== "buffered",
    );
    expect(synchronous.length).toBeGreaterThan(3);
  });
});
