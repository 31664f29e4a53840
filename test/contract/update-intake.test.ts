// What the intake promises, on each home: durable before it resolves, once, and one update's fault is not the others'.
import { sql } from "kysely";
import { ulid } from "ulid";
import { beforeAll, expect, test } from "vitest";
import { postgresFederationStore } from "../../coordinator/adapters/postgres-federation-store.ts";
import { type NewUpdate, NotStoredError } from "../../coordinator/ports/federation-store.ts";
import { cohortId, gatewayId, planId, updateId } from "../../learning/ids.ts";
import { cohortState } from "../support/cohort-state.ts";
import { addCohort, PLAN_ID } from "../support/fleet-rows.ts";
import { onEveryHome } from "../support/homes.ts";
import { roomyIntake } from "../support/roomy-intake.ts";

const PUMPS = cohortId("pumps");
const anUpdate = (change: Partial<NewUpdate> = {}): NewUpdate => ({
  updateId: updateId(ulid()),
  cohort: PUMPS,
  planId: planId(PLAN_ID),
  gatewayId: gatewayId("gw-1"),
  baseVersion: 1,
  localSteps: 1,
  samples: 50,
  loss: 0.5,
  encoding: "int8",
  delta: Uint8Array.of(0, 1, 127, 128, 255, 92, 34, 44, 123, 125),
  ...change,
});
const stale = { kind: "refused", reason: "stale_base", message: "21 champions behind" } as const;

onEveryHome((home) => {
  const intake = () => roomyIntake(home.database);
  const rows = async (id: string) =>
    (
      await home.database.kysely
        .selectFrom("local_models")
        .where("update_id", "=", id)
        .select(["status", "reason", "delta", "samples_processed", "gateway_id"])
        .execute()
    ).map((row) => ({ ...row, delta: row.delta && [...row.delta] }));

  beforeAll(async () => {
    await addCohort(home.database.kysely, "pumps", 1);
  });

  test("updates that come together are stored together, each whole and as it came", async () => {
    const updates = Array.from({ length: 60 }, (_, n) =>
      anUpdate({ gatewayId: gatewayId(`gw-${n}`), samples: n + 1, delta: new Uint8Array(n).fill(n) }),
    );
    const outcomes = await Promise.all(updates.map((update) => intake().addUpdate(update)));
    expect(new Set(outcomes)).toEqual(new Set(["stored"]));
    for (const [n, update] of updates.entries()) {
      expect(await rows(update.updateId)).toEqual([
        {
          status: "accepted",
          reason: null,
          delta: Array<number>(n).fill(n),
          samples_processed: n + 1,
          gateway_id: `gw-${n}`,
        },
      ]);
    }
  });

  test("an update that comes twice, in one batch or later, is stored once and known then", async () => {
    const update = anUpdate();
    const first = Promise.all([anUpdate(), update, update, anUpdate()].map((each) => intake().addUpdate(each)));
    expect((await first).toSorted()).toEqual(["known", "stored", "stored", "stored"]);
    expect(await intake().addUpdate(update)).toBe("known");
    expect(await rows(update.updateId)).toHaveLength(1);
  });

  test("of two that come at a time the first is stored and the second known, whichever writer has them", async () => {
    for (let pair = 0; pair < 50; pair++) {
      const update = anUpdate();
      const outcomes = await Promise.all([update, update].map((each) => intake().addUpdate(each)));
      expect(outcomes).toEqual(["stored", "known"]);
    }
  });

  test("a refusal is kept with its reason and without its delta, and refused again when it comes again", async () => {
    const update = anUpdate();
    expect(await intake().addRefusal(update, stale)).toBe("refused");
    expect(await intake().addRefusal(update, stale)).toBe("refused");
    expect(await intake().addUpdate(update)).toBe("known");
    expect(await rows(update.updateId)).toMatchObject([
      { status: "refused", reason: "stale_base: 21 champions behind", delta: null },
    ]);
  });

  test("an update that was stored is known when a resend would be refused", async () => {
    const update = anUpdate();
    await intake().addUpdate(update);
    expect(await intake().addRefusal(update, stale)).toBe("known");
    expect(await rows(update.updateId)).toMatchObject([{ status: "accepted" }]);
  });

  test("an update that the database can't take does not hurt those that came with it", async () => {
    const impossible = anUpdate({ localSteps: 2 ** 64 });
    const others = Array.from({ length: 9 }, () => anUpdate());
    const outcomes = await Promise.allSettled(
      [...others.slice(0, 4), impossible, ...others.slice(4)].map((each) => intake().addUpdate(each)),
    );
    expect(outcomes.map((outcome) => (outcome.status === "fulfilled" ? outcome.value : "rejected"))).toEqual([
      ...Array<string>(4).fill("stored"),
      "rejected",
      ...Array<string>(5).fill("stored"),
    ]);
    await expect(intake().addUpdate(impossible)).rejects.toBeInstanceOf(NotStoredError);
    expect(await intake().addUpdate(anUpdate())).toBe("stored"); // and the intake goes on at once
  });

  test("a round takes the oldest of every gateway before the second of any, in the order stored, within its bytes", async () => {
    await sql`DELETE FROM local_models`.execute(home.database.kysely);
    const size = 1_500_000; // two of them as float32 are within the bound, so that K = 3 decides
    const state = cohortState();
    const cohort = {
      ...state,
      cohort: PUMPS,
      manifest: {
        ...state.manifest,
        weights: [{ name: "w", shape: [size], offset: 0 }],
        training: { ...state.manifest.training, codec: { kind: "int8" } as const },
      },
      federation: { ...state.federation, round: { ...state.federation.round, updates: 3 } },
    };
    const sent: string[] = [];
    for (const gateway of ["a", "a", "b", "a", "c"]) {
      const { planId } = state;
      const update = anUpdate({ planId, gatewayId: gatewayId(gateway), delta: new Uint8Array(4 + size) });
      sent.push(update.updateId);
      await intake().addUpdate(update);
    }
    const store = postgresFederationStore(home.database.kysely, intake());
    const round = await store.roundUpdates(cohort);
    expect(round.map((update) => update.updateId)).toEqual([sent[0], sent[2], sent[4]]);
  });
});
