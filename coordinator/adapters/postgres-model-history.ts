// What can be read back of every version, in SQL.
import { type Kysely, type Selectable, type SqlBool, sql } from "kysely";
import type { CohortId, PlanId } from "../../learning/ids.ts";
import { decodeWeights } from "../../proto/weights.ts";
import { byGateway } from "../core/contributions.ts";
import type { ModelItem } from "../ports/fleet-queries.ts";
import { UnknownModelError } from "../ports/model-actions.ts";
import type {
  EvaluationItem,
  HistoryPage,
  Lineage,
  ModelFile,
  ModelHistory,
  StreamCounts,
  VersionKey,
} from "../ports/model-history.ts";
import { modelItem, modelRows } from "./model-rows.ts";
import { answered, page } from "./pages.ts";
import { weightsOf } from "./postgres-model-archive.ts";
import { roundItem } from "./postgres-queries.ts";
import type { Tables } from "./tables.ts";

export function postgresModelHistory(db: Kysely<Tables>): ModelHistory {
  const model = async (cohort: CohortId, version: number) => {
    const query = modelRows(db).where("m.cohort", "=", cohort).where("m.global_version", "=", version);
    const row = await answered(query.executeTakeFirst());
    if (row === undefined) throw new UnknownModelError(cohort, version);
    return modelItem(row);
  };
  return {
    model,

    lineage: async (cohort, version, parents) => answered(lineage(db, await model(cohort, version), parents)),

    evaluations: async (cohort, version, { limit, after }) => {
      const query = db
        .selectFrom("model_evaluations")
        .selectAll()
        .where("cohort", "=", cohort)
        .where("global_version", "=", made(await model(cohort, version)))
        .where(
          after === null
            ? sql<SqlBool>`true`
            : sql<SqlBool>`(stream, row_index) > (${after.stream}, ${after.rowIndex})`,
        )
        .orderBy("stream")
        .orderBy("row_index")
        .limit(limit + 1);
      return page(await answered(query.execute()), limit, evaluationItem, (row) => ({
        stream: row.stream,
        rowIndex: row.row_index,
      }));
    },

    file: async (cohort, version) => answered(modelFile(db, await model(cohort, version))),
  };
}

/** The version that the weights were made as. */
const made = ({ globalVersion, originVersion }: ModelItem) => originVersion ?? globalVersion;

async function lineage(db: Kysely<Tables>, model: ModelItem, parents: HistoryPage<VersionKey>): Promise<Lineage> {
  const [round, streams, line] = await Promise.all([
    db
      .selectFrom("rounds")
      .innerJoin("federated_models as m", (join) =>
        join.onRef("m.cohort", "=", "rounds.cohort").onRef("m.global_version", "=", "rounds.global_version"),
      )
      .selectAll("rounds")
      .select(["m.scales", "m.threshold_factor"])
      .where("rounds.cohort", "=", model.cohort)
      .where("rounds.global_version", "=", made(model))
      .executeTakeFirst(),
    streamCounts(db, model.cohort, made(model)),
    parentsOf(db, model, parents),
  ]);
  const contributions = round?.contributions ?? null;
  return {
    model,
    round: round === undefined ? null : roundItem(round),
    contributions,
    gateways: contributions && byGateway(contributions),
    streams: streams.length === 0 ? null : streams,
    parents: line,
  };
}

async function streamCounts(db: Kysely<Tables>, cohort: string, version: number): Promise<StreamCounts[]> {
  const counted = (prediction: number, actual: number) =>
    sql<number>`count(*) FILTER (WHERE prediction_result = ${prediction} AND actual_result = ${actual})`;
  return db
    .selectFrom("model_evaluations")
    .select(["stream", ({ fn }) => fn.countAll<number>().as("n")])
    .select([counted(1, 1).as("tp"), counted(1, 0).as("fp"), counted(0, 0).as("tn"), counted(0, 1).as("fn")])
    .where("cohort", "=", cohort)
    .where("global_version", "=", version)
    .groupBy("stream")
    .orderBy("stream")
    .execute();
}

/** From parent to parent, each page one walk of at most its limit. */
async function parentsOf(db: Kysely<Tables>, model: ModelItem, { limit, after }: HistoryPage<VersionKey>) {
  const from = after?.globalVersion ?? model.globalVersion;
  const line = sql<{ version: number }>`
    WITH RECURSIVE line (version, parent, nth) AS (
      SELECT global_version, parent_version, 0 FROM federated_models
      WHERE cohort = ${model.cohort} AND global_version = ${from}
      UNION ALL
      SELECT p.global_version, p.parent_version, nth + 1
      FROM line JOIN federated_models p ON p.cohort = ${model.cohort} AND p.global_version = line.parent
      WHERE nth <= ${limit} AND line.parent < line.version
    )
    SELECT version FROM line WHERE nth > 0`;
  const rows = await modelRows(db)
    .where("m.cohort", "=", model.cohort)
    .where(sql<SqlBool>`m.global_version IN (${line})`)
    .orderBy("m.global_version", "desc")
    .execute();
  return page(rows, limit, modelItem, (row) => ({ globalVersion: row.global_version }));
}

function evaluationItem(row: Selectable<Tables["model_evaluations"]>): EvaluationItem {
  return {
    stream: row.stream,
    rowIndex: row.row_index,
    prediction: row.prediction_result,
    actual: row.actual_result,
    correct: row.is_correct,
    score: row.score,
    threshold: row.threshold,
    confidence: row.confidence,
    evaluatedAt: row.evaluation_timestamp.toISOString(),
  };
}

async function modelFile(db: Kysely<Tables>, model: ModelItem): Promise<ModelFile | null> {
  const [weights, plan] = await Promise.all([
    weightsOf(db, model.cohort, model.globalVersion),
    db.selectFrom("plans").select("bundle").where("plan_id", "=", model.planId).executeTakeFirstOrThrow(),
  ]);
  if (weights === null) return null;
  return {
    planId: model.planId as PlanId,
    bundle: plan.bundle,
    weights: decodeWeights(weights, weights.byteLength / 4),
  };
}
