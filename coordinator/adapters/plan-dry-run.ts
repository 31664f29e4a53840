// What a dry run is made of, from the database: the plan, the cohort's champion, and its held-out streams as each reads them.
import type { Kysely } from "kysely";
import { rowsOfChance } from "../../learning/check-plan.ts";
import { noFleet } from "../../learning/fleet.ts";
import { type CohortId, type PlanId, planId } from "../../learning/ids.ts";
import { type Manifest, weightCount } from "../../learning/plan.ts";
import { decodeBundle, type PlanBundle, PlanBundleError } from "../../proto/plan-bundle.ts";
import { decodeWeights } from "../../proto/weights.ts";
import { type DryRunFailure, type DryRunModel, type DryRunReport, dryRun } from "../core/dry-run.ts";
import type { HeldOutStream } from "../core/evaluate.ts";
import type { StreamRevision } from "../core/held-out.ts";
import type { HeldOutStreams } from "../ports/held-out-streams.ts";
import { UnknownPlanError, UnusablePlanError } from "../ports/plans.ts";
import { MissingChannelError, parseHeldOutCsv } from "./held-out-csv.ts";
import { answered } from "./pages.ts";
import { openRunningPlan } from "./running-plan.ts";
import type { Tables } from "./tables.ts";

export interface DryRunSource {
  readonly db: Kysely<Tables>;
  readonly heldOut: Pick<HeldOutStreams, "content">;
}

/** On the streams of `frozen`. Rejects once `signal` has aborted; what takes longer than `maxMs` has failed by that alone. */
export async function tryPlan(
  { db, heldOut }: DryRunSource,
  { cohort, planId: plan }: { readonly cohort: CohortId; readonly planId: PlanId },
  frozen: readonly StreamRevision[],
  { signal, maxMs }: { readonly signal: AbortSignal; readonly maxMs: number },
): Promise<DryRunReport> {
  const bundle = await bundleOf(db, plan);
  const standing = await standingOf(db, cohort, plan);
  const champion = championOf(standing);
  const begin = beginOf(bundle, standing, plan);
  const manifests = [bundle, ...(champion ? [champion.bundle] : [])].map(({ manifest }) => manifest);
  const [own, its] = await readStreams(heldOut, cohort, frozen, manifests);

  const late = AbortSignal.timeout(maxMs);
  const stop = AbortSignal.any([signal, late]);
  const running = openRunningPlan(bundle, stop);
  const against = champion && {
    ...champion,
    plan: openRunningPlan(champion.bundle, stop),
    streams: its?.streams ?? [],
  };
  const subject = {
    planId: plan,
    plan: running,
    begin,
    streams: own?.streams ?? [],
    example: { x: rowsOfChance(bundle.manifest, EXAMPLE_ROWS, EXAMPLE_SEED), rows: EXAMPLE_ROWS },
  };
  try {
    const report = await dryRun(subject, against, own?.failures ?? []);
    signal.throwIfAborted();
    return late.aborted ? outOfTime(report, maxMs) : report;
  } finally {
    await Promise.all([running.close(), against?.plan.close()]);
  }
}

/** Where there are no streams; a small forest's trees are grown from as many. */
const EXAMPLE_ROWS = 64;
const EXAMPLE_SEED = 1;

function outOfTime(report: DryRunReport, maxMs: number): DryRunReport {
  const detail = `it was stopped after ${maxMs / 1000} s: fewer or shorter held-out streams take less`;
  return { ...report, passed: false, failures: [{ fault: "out_of_time", stream: null, detail }] };
}

async function bundleOf(db: Kysely<Tables>, plan: PlanId): Promise<PlanBundle> {
  const row = await answered(db.selectFrom("plans").select("bundle").where("plan_id", "=", plan).executeTakeFirst());
  if (row === undefined) throw new UnknownPlanError(plan);
  try {
    return decodeBundle(row.bundle, plan);
  } catch (error) {
    throw new UnusablePlanError((error as Error).message, error);
  }
}

/** The cohort under its active plan, and under `plan` if it learns or learned by it. */
function standingOf(db: Kysely<Tables>, cohort: CohortId, plan: PlanId) {
  return answered(
    db
      .selectFrom("cohort_plans as s")
      .innerJoin("plans as p", "p.plan_id", "s.plan_id")
      .innerJoin("federated_models as m", (join) =>
        join.onRef("m.cohort", "=", "s.cohort").onRef("m.global_version", "=", "s.champion_version"),
      )
      .select(["s.cohort", "s.plan_id", "s.state", "p.bundle"])
      .select(["m.global_version", "m.weights", "m.rule", "m.scales", "m.threshold_factor"])
      .where("s.cohort", "=", cohort)
      .where(({ or, eb }) => or([eb("s.plan_id", "=", plan), eb("s.state", "=", "active")]))
      .execute(),
  );
}

type Standing = Awaited<ReturnType<typeof standingOf>>[number];

/** Null: the cohort learns by no plan, or by one that another version of FLEAD wrote. */
function championOf(standing: readonly Standing[]) {
  const active = standing.find(({ state }) => state === "active");
  const bundle = active && readable(active);
  if (!active || !bundle) return null;
  return { planId: planId(active.plan_id), bundle, model: modelOf(active, bundle.manifest) };
}

function readable({ plan_id, bundle }: Standing): PlanBundle | null {
  try {
    return decodeBundle(bundle, planId(plan_id));
  } catch (error) {
    if (error instanceof PlanBundleError) return null;
    throw error;
  }
}

/** A plan that the cohort learned by before goes on where it was left. */
function beginOf({ manifest, initialWeights }: PlanBundle, standing: readonly Standing[], plan: PlanId): DryRunModel {
  const before = standing.find(({ plan_id }) => plan_id === plan);
  return before
    ? modelOf(before, manifest)
    : { version: null, trained: false, weights: initialWeights, fleet: noFleet };
}

function modelOf(row: Standing, manifest: Manifest): DryRunModel {
  if (row.weights === null) throw new Error(`cohort ${row.cohort}: version ${row.global_version} has no weights`);
  return {
    version: row.global_version,
    trained: row.rule !== "initial",
    weights: decodeWeights(row.weights, weightCount(manifest.weights)),
    fleet: { scales: row.scales && Float64Array.from(row.scales), thresholdFactor: row.threshold_factor },
  };
}

interface ReadStreams {
  readonly streams: HeldOutStream[];
  /** Why the others can't be read. */
  readonly failures: DryRunFailure[];
}

/** As plans of these manifests read them; without those that were retired meanwhile. */
async function readStreams(
  heldOut: DryRunSource["heldOut"],
  cohort: CohortId,
  frozen: readonly StreamRevision[],
  manifests: readonly Manifest[],
): Promise<ReadStreams[]> {
  const read = manifests.map(
    (manifest) => ({ manifest, streams: [], failures: [] }) as ReadStreams & { manifest: Manifest },
  );
  for (const revision of frozen) {
    const csv = await heldOut.content(cohort, revision);
    if (csv !== null) for (const { manifest, ...into } of read) readStream(into, revision.stream, csv, manifest);
  }
  return read;
}

function readStream({ streams, failures }: ReadStreams, stream: string, csv: Uint8Array, manifest: Manifest): void {
  try {
    streams.push(parseHeldOutCsv(stream, csv, manifest));
  } catch (error) {
    const fault = error instanceof MissingChannelError ? "missing_channel" : "unusable_stream";
    failures.push({ fault, stream, detail: (error as Error).message });
  }
}
