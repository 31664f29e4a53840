// What operators do with versions, and what can be read back of them, on a real PostgreSQL.
import { sql } from "kysely";
import { beforeEach, expect, test } from "vitest";
import { postgresModelActions } from "../../coordinator/adapters/postgres-model-actions.ts";
import { postgresModelArchive } from "../../coordinator/adapters/postgres-model-archive.ts";
import { postgresModelHistory } from "../../coordinator/adapters/postgres-model-history.ts";
import { postgresTableKeeper } from "../../coordinator/adapters/postgres-tables.ts";
import { TABLE_LIMITS, type TableLimits } from "../../coordinator/core/maintenance.ts";
import type { ModelAction } from "../../coordinator/core/model-actions.ts";
import { runMaintenance } from "../../coordinator/maintenance.ts";
import { RoundConflictError } from "../../coordinator/ports/federation-store.ts";
import { ModelActionRefusedError, type Standing, UnknownModelError } from "../../coordinator/ports/model-actions.ts";
import { cohortId } from "../../learning/ids.ts";
import { createLogger } from "../../runtime/log.ts";
import { onEveryHome } from "../support/homes.ts";
import { testPlan } from "../support/plan-settings.ts";
import { StoreRounds } from "../support/store-rounds.ts";

const log = createLogger("test", "silent");

onEveryHome((home) => {
  let rounds: StoreRounds;
  let cohorts = 0;
  const db = () => home.database.kysely;

  beforeEach(async () => {
    rounds = new StoreRounds(home.database, cohortId(`cohort-${cohorts++}`));
    await rounds.define(testPlan);
  });

  const act = (action: ModelAction, expectedChampion: number | null = null): Promise<Standing> =>
    postgresModelActions(db()).act({
      cohort: rounds.cohort,
      action,
      actor: "ada",
      reason: `to ${action.kind}`,
      expectedChampion,
    });
  const rollBack = (version: number) => act({ kind: "roll_back", version });
  const promote = (version: number) => act({ kind: "promote", version });
  const history = () => postgresModelHistory(db());
  const model = (version: number) => history().model(rounds.cohort, version);
  const models = async () => {
    const { lastVersion } = await rounds.state();
    return Promise.all(Array.from({ length: lastVersion }, (_, i) => model(i + 1)));
  };
  const statuses = async () => (await models()).map(({ status }) => status);
  const audit = () =>
    db()
      .selectFrom("audit_log")
      .select(["actor", "action", "detail"])
      .where("subject", "like", `cohort/${rounds.cohort}/version/%`)
      .orderBy("id")
      .execute();

  test("a roll back is a new version with the old weights, its parent and origin recorded, and an audit row", async () => {
    await rounds.round();
    const second = (await rounds.state()).champion.weights;
    await rounds.round();
    await rounds.round();
    expect(await rollBack(2)).toEqual({ cohort: rounds.cohort, championVersion: 5, pin: null });
    const state = await rounds.state();
    expect(state.champion).toMatchObject({ version: 5, trained: true });
    expect(state.champion.weights).toEqual(second);
    expect(state).toMatchObject({ lastVersion: 5, championVersions: [1, 2, 5], rolledBackVersions: [3, 4] });
    expect(await model(5)).toMatchObject({
      parentVersion: 4,
      originVersion: 2,
      roundId: null,
      status: "champion",
      actor: "ada",
      reason: "to roll_back",
      weights: "at_hand",
    });
    expect(await statuses()).toEqual(["champion", "champion", "rolled_back", "rolled_back", "champion"]);
    expect(await audit()).toEqual([
      {
        actor: "ada",
        action: "model.roll_back",
        detail: { kind: "roll_back", version: 2, reason: "to roll_back", championBefore: 4, championAfter: 5 },
      },
    ]);
  });

  test("a version that has the weights gone back to is not left behind with the others", async () => {
    await rounds.round();
    await rounds.round();
    await rollBack(2);
    await rounds.round();
    await rollBack(2);
    expect(await statuses()).toEqual(["champion", "champion", "rolled_back", "champion", "rolled_back", "champion"]);
    expect(await model(6)).toMatchObject({ parentVersion: 5, originVersion: 2 });
    await rollBack(5);
    expect(await model(7)).toMatchObject({ parentVersion: 6, originVersion: 5 });
    await rollBack(6);
    expect(await model(8)).toMatchObject({ parentVersion: 7, originVersion: 2 });
  });

  test("a rejected candidate that is promoted becomes champion as a new version; the rejected row stays as it is", async () => {
    await rounds.round();
    expect((await rounds.round(0.3)).verdict).toBe("rejected");
    await promote(3);
    const state = await rounds.state();
    expect(state).toMatchObject({ champion: { version: 4 }, championVersions: [1, 2, 4], rolledBackVersions: [] });
    expect(await model(4)).toMatchObject({ parentVersion: 2, originVersion: 3, rule: "fedavg", accuracy: null });
    expect(await statuses()).toEqual(["champion", "champion", "rejected", "champion"]);
  });

  test("going back to the plan's initial weights is going back to the cold start", async () => {
    await rounds.round();
    await rollBack(1);
    expect((await rounds.state()).champion).toMatchObject({ version: 3, trained: false });
  });

  test("what the server optimiser and the smoothed quality remember of the way that is left is forgotten", async () => {
    await rounds.round(0.6);
    await rounds.round(0.7);
    await db()
      .updateTable("cohort_plans")
      .set({ server_steps: 9, learning_rate_factor: 1.5 })
      .where("cohort", "=", rounds.cohort)
      .execute();
    expect((await rounds.state()).rate.smoothedQuality).not.toBeNull();
    await rollBack(2);
    const { rate, server } = await rounds.state();
    expect({ rate, step: server.step }).toEqual({
      rate: { factor: 1.5, smoothedQuality: null, measuredOn: "streams" },
      step: 0,
    });
  });

  test("updates on a version that was rolled back no longer count, those on the one it went back to do", async () => {
    await rounds.round();
    await rounds.round();
    await rounds.push(["gw-a", "gw-b"], 0.01, { base: 3 });
    const [kept] = await rounds.push(["gw-c"], 0.01, { base: 2 });
    await rollBack(2);
    const rows = await db()
      .selectFrom("local_models")
      .select(["update_id", "status", "reason"])
      .where("cohort", "=", rounds.cohort)
      .where("status", "<>", "aggregated")
      .execute();
    expect(rows.find(({ update_id }) => update_id === kept)?.status).toBe("accepted");
    const refused = rows.filter(({ status }) => status === "refused");
    expect(refused.map(({ reason }) => reason)).toEqual(
      Array(2).fill("rolled_back_base: base version 3 was rolled back"),
    );
  });

  test("a pinned champion stays through a better candidate, which can be promoted once it is unpinned", async () => {
    await rounds.round();
    expect(await act({ kind: "pin" })).toMatchObject({ championVersion: 2, pin: { by: "ada", reason: "to pin" } });
    expect(await statuses()).toEqual(["champion", "pinned"]);
    const better = await rounds.round(0.9);
    expect(better).toMatchObject({
      verdict: "candidate",
      reason: expect.stringMatching(/; the champion is pinned by ada: to pin$/),
    });
    expect((await rounds.round(0.3)).verdict).toBe("rejected");
    const pinned = await rounds.state();
    expect(pinned).toMatchObject({ champion: { version: 2 }, lastVersion: 4, pin: { by: "ada", reason: "to pin" } });
    expect(await statuses()).toEqual(["champion", "pinned", "candidate", "rejected"]);
    await expect(promote(3)).rejects.toThrow("version 2 is pinned by ada: to pin: unpin it first");

    expect(await act({ kind: "unpin" })).toMatchObject({ championVersion: 2, pin: null });
    expect(await statuses()).toEqual(["champion", "champion", "candidate", "rejected"]);
    expect((await rounds.round(0.9)).verdict).toBe("promoted");
    await promote(3);
    expect(await rounds.state()).toMatchObject({ champion: { version: 6 }, championVersions: [1, 2, 5, 6] });
    expect((await audit()).map(({ action }) => action)).toEqual(["model.pin", "model.unpin", "model.promote"]);
  });

  test("a pin stays with its plan: another one begins without", async () => {
    await rounds.round();
    await act({ kind: "pin" });
    await rounds.define({ ...testPlan, commissioningRows: 120 });
    expect(await rounds.state()).toMatchObject({ pin: null, champion: { version: 3 } });
    expect((await model(2)).status).toBe("pinned");
    await expect(rollBack(2)).rejects.toThrow(/version 2 is of plan .*, the cohort learns by/);
  });

  test("what is not there, or can't be done, changes nothing and leaves no audit row", async () => {
    await rounds.round();
    const before = await rounds.state();
    await expect(rollBack(9)).rejects.toThrow(UnknownModelError);
    await expect(promote(1)).rejects.toThrow(ModelActionRefusedError);
    await expect(act({ kind: "pin" }, 1)).rejects.toThrow("the champion is version 2 by now, not 1");
    const nobody = { cohort: cohortId("nobody"), actor: "ada", reason: "", expectedChampion: null };
    await expect(postgresModelActions(db()).act({ ...nobody, action: { kind: "pin" } })).rejects.toThrow(
      "there is no cohort nobody",
    );
    expect(await rounds.state()).toEqual(before);
    expect(await audit()).toEqual([]);
  });

  test.each([
    ["rolls back", () => rollBack(2), 5],
    ["pins", () => act({ kind: "pin" }), 3],
  ])(
    "when an operator %s while a round is being evaluated, the round is not recorded and runs again",
    async (_, during, champion) => {
      await rounds.round();
      await rounds.round();
      await rounds.push(["gw-a", "gw-b"], 0.01, { base: 2 });
      let acted: Promise<Standing> | null = null;
      const running = rounds.run(await rounds.state(), null, () => {
        acted ??= during();
        return acted;
      });
      await expect(running).rejects.toThrow(RoundConflictError);
      const again = await rounds.run(await rounds.state());
      const state = await rounds.state();
      expect(state.champion.version).toBe(champion);
      expect(again.updates).toBe(2);
      expect((await statuses()).length).toBe(state.lastVersion);
      await expect(rounds.run(state)).rejects.toThrow(); // its updates were counted once
    },
  );

  /** The version of the open round's candidate, however often somebody else moves the cohort first. */
  async function recorded(): Promise<number> {
    for (;;) {
      try {
        return (await rounds.run(await rounds.state())).cohort.lastVersion;
      } catch (error) {
        if (!(error instanceof RoundConflictError)) throw error;
      }
    }
  }

  test("operators and rounds at once leave one history: no version twice, none left out, each champion the next one's parent", async () => {
    await rounds.round();
    await rounds.round();
    const closed: number[] = [];
    const closing = (async () => {
      for (let n = 0; n < 4; n++) {
        await rounds.push(["gw-a", "gw-b"], 0.01, { base: 1 }); // a base that nobody rolls back
        closed.push(await recorded());
      }
    })();
    const acts = await Promise.allSettled([
      ...[1, 2, 1, 2, 1, 2].map(rollBack),
      act({ kind: "pin" }),
      ...[1, 2].map(rollBack),
      act({ kind: "unpin" }),
      ...[1, 2, 1, 2].map(rollBack),
    ]);
    await closing;
    const refused = acts.flatMap((tried) => (tried.status === "rejected" ? [tried.reason] : []));
    expect(refused.filter((error) => !(error instanceof ModelActionRefusedError))).toEqual([]);
    expect(await audit()).toHaveLength(acts.length - refused.length);
    const rows = await db()
      .selectFrom("federated_models")
      .select(["global_version", "parent_version", "status"])
      .where("cohort", "=", rounds.cohort)
      .orderBy("global_version")
      .execute();
    const { lastVersion, champion } = await rounds.state();
    expect(rows.map(({ global_version }) => global_version)).toEqual(
      Array.from({ length: lastVersion }, (_, i) => i + 1),
    );
    const line = rows.filter(({ status }) => status !== "rejected" && status !== "candidate");
    expect(line.map(({ parent_version }) => parent_version)).toEqual([
      null,
      ...line.slice(0, -1).map(({ global_version }) => global_version),
    ]);
    expect(line.at(-1)?.global_version).toBe(champion.version);
    expect(closed).toEqual([...new Set(closed)].toSorted((a, b) => a - b));
  });

  const signal = new AbortController().signal;
  const archiveOlder = (newest = 2) => postgresModelArchive(db()).archiveOlder(newest, signal);
  const weightStates = async () => (await models()).map(({ weights }) => weights);

  test("older weights are archived, their rows and all that is read of them stay, and a roll back finds them there", async () => {
    const initial = (await rounds.state()).champion.weights;
    for (let n = 0; n < 3; n++) await rounds.round();
    await rounds.push(["gw-c"], 0.01, { base: 2 });
    const before = await history().file(rounds.cohort, 1);
    await archiveOlder();
    expect(await weightStates()).toEqual(["archived", "at_hand", "at_hand", "at_hand"]); // 2 is an open update's base
    expect(await history().file(rounds.cohort, 1)).toEqual(before);
    expect(await archiveOlder()).toBe(0);
    await rollBack(1);
    expect((await rounds.state()).champion.weights).toEqual(initial);
  });

  test("a champion keeps its weights at hand, however old it is", async () => {
    await rounds.round();
    await act({ kind: "pin" });
    for (let n = 0; n < 3; n++) await rounds.round();
    await archiveOlder(1);
    expect(await weightStates()).toEqual(["archived", "at_hand", "archived", "archived", "at_hand"]);
    expect((await rounds.state()).champion.version).toBe(2);
  });

  test("what the archive has for too long, or too much of, is dropped with the old rows, and said to be", async () => {
    for (let n = 0; n < 4; n++) await rounds.round();
    await archiveOlder(1);
    await sql`DELETE FROM model_archive WHERE cohort <> ${rounds.cohort}`.execute(db());
    for (const [version, days] of [
      [1, 40],
      [2, 20],
      [3, 10],
    ] as const) {
      await sql`UPDATE model_archive SET archived_at = now() - make_interval(days => ${days})
              WHERE cohort = ${rounds.cohort} AND global_version = ${version}`.execute(db());
    }
    const keeper = postgresTableKeeper(db());
    const keepTo = (limits: Partial<TableLimits>) => {
      const model_archive = { retentionDays: null, maxBytes: null, ...limits };
      return runMaintenance({ keeper, limits: { ...TABLE_LIMITS, model_archive }, log }, Date.now(), signal);
    };
    await keepTo({ retentionDays: 30 });
    expect(await weightStates()).toEqual(["dropped", "archived", "archived", "archived", "at_hand"]);
    const { bytes } = await keeper.size("model_archive");
    await keepTo({ maxBytes: (2.5 / 3) * bytes });
    expect(await weightStates()).toEqual(["dropped", "dropped", "archived", "archived", "at_hand"]);
    await expect(rollBack(2)).rejects.toThrow("the weights of version 2 were dropped from the archive");
    expect(await history().file(rounds.cohort, 2)).toBeNull();
    expect((await history().lineage(rounds.cohort, 2, { limit: 5, after: null })).round?.globalVersion).toBe(2);
  });

  test("archived weights that are damaged are not made champion", async () => {
    for (let n = 0; n < 2; n++) await rounds.round();
    await archiveOlder(1);
    await sql`UPDATE model_archive SET sha256 = ${"0".repeat(64)} WHERE cohort = ${rounds.cohort}`.execute(db());
    await expect(rollBack(1)).rejects.toThrow(/damaged: their SHA-256 is another/);
    await expect(history().file(rounds.cohort, 1)).rejects.toThrow(/damaged/);
    expect((await rounds.state()).champion.version).toBe(3);
  });

  test("what a champion was made from is read back without the updates' rows and the evaluated rows", async () => {
    const ids = await rounds.push(["gw-a", "gw-b", "gw-a"]);
    await rounds.run(await rounds.state(), 0.6);
    await rounds.round(0.7);
    await rollBack(2);
    const read = () => history().lineage(rounds.cohort, 4, { limit: 50, after: null });
    const full = await read();
    expect(full.model).toMatchObject({ globalVersion: 4, originVersion: 2 });
    expect(full.round).toMatchObject({ globalVersion: 2, verdict: "promoted", heldOut: { f1: 0.6 } });
    expect(full.contributions?.map(({ updateId }) => updateId).toSorted()).toEqual(ids.toSorted());
    expect(full.contributions?.[0]).toMatchObject({ baseVersion: 1, samples: 50, stalenessWeight: 1, part: "counted" });
    expect(full.gateways).toEqual([
      { gatewayId: "gw-a", updates: 2, samples: 100, share: expect.closeTo(2 / 3, 12), part: "counted" },
      { gatewayId: "gw-b", updates: 1, samples: 50, share: expect.closeTo(1 / 3, 12), part: "counted" },
    ]);
    expect(full.streams).toEqual([
      { stream: "north", n: 3, tp: 1, fp: 1, tn: 1, fn: 0 },
      { stream: "south", n: 1, tp: 0, fp: 0, tn: 0, fn: 1 },
    ]);
    expect(full.parents.items.map(({ globalVersion }) => globalVersion)).toEqual([3, 2, 1]);

    await sql`DELETE FROM local_models WHERE cohort = ${rounds.cohort}`.execute(db());
    await sql`DELETE FROM model_evaluations WHERE cohort = ${rounds.cohort}`.execute(db());
    expect(await read()).toEqual({ ...full, streams: null });
  });

  test("a cohort's line is read page by page, and evaluated rows stream by stream", async () => {
    for (let n = 0; n < 4; n++) await rounds.round(0.6);
    const seen: number[] = [];
    for (let after: { globalVersion: number } | null = null, pages = 0; pages < 5; pages++) {
      const { parents } = await history().lineage(rounds.cohort, 5, { limit: 2, after });
      seen.push(...parents.items.map(({ globalVersion }) => globalVersion));
      after = parents.next;
      if (after === null) break;
    }
    expect(seen).toEqual([4, 3, 2, 1]);
    const first = await history().evaluations(rounds.cohort, 5, { limit: 3, after: null });
    const rest = await history().evaluations(rounds.cohort, 5, { limit: 3, after: first.next });
    expect([...first.items, ...rest.items].map(({ stream, rowIndex }) => `${stream} ${rowIndex}`)).toEqual([
      "north 0",
      "north 1",
      "north 2",
      "south 0",
    ]);
    expect(first.items[1]).toMatchObject({ prediction: 1, actual: 0, correct: false, score: 1.5 });
    expect(rest.next).toBeNull();
  });
});
