// GET /drift: a cohort's live streams, and how its champion fares on each.
import type { FastifyPluginAsyncZod } from "fastify-type-provider-zod";
import { z } from "zod";
import { cohortId } from "../../../learning/ids.ts";
import type { LiveDriftStore } from "../../ports/live-drift.ts";
import { cohortName } from "../paging.ts";
import { problems } from "../problem.ts";
import { apiSchemas, time } from "../schemas.ts";

const share = z.number().min(0).max(1).nullable();

const driftSchema = z
  .object({
    cohort: z.string(),
    stream: z.string(),
    device: z.string(),
    windows: z.int().describe("Closed ones that are kept; the counts are theirs"),
    lastWindowEnd: time.nullable(),
    rows: z.int(),
    labelledRows: z.int(),
    anomalies: z.int().describe("Rows labelled 1"),
    lateRows: z.int().describe("Of windows that had closed"),
    lateLabels: z.int().describe("Of windows that had closed"),
    droppedRows: z.int().describe("From ahead of the clock, for the second time, or too many"),
    droppedLabels: z.int(),
    state: z.enum(["steady", "drifted", "not evaluated"]),
    why: z.string().nullable().describe("Why it is not evaluated right now"),
    championVersion: z.int().nullable().describe("That the figures are of"),
    quality: share.describe("½ F1 + ½ PR-AUC of the last labelled rows; null: not evaluated"),
    evaluatedRows: z.int().describe("Labelled rows that the quality is of"),
    reference: share.describe("The champion's first quality on the stream; null: not evaluated"),
    windowsBelow: z.int().describe("Measured windows in a row that were too far below the reference"),
    driftedAt: time.nullable(),
    dueAction: z.enum(["round", "rollback"]).nullable().describe("What the drift asks for and is not done yet"),
  })
  .register(apiSchemas, { id: "Drift" });

export const driftRoute =
  (drifts: Pick<LiveDriftStore, "list">): FastifyPluginAsyncZod =>
  async (app) => {
    const schema = {
      summary: "A cohort's live streams, and how its champion fares on each",
      querystring: z.strictObject({ cohort: cohortName }),
      response: { 200: z.object({ items: z.array(driftSchema) }), ...problems(400, 404, 503) },
    };
    app.get("/drift", { schema }, async ({ query }) => ({ items: await drifts.list(cohortId(query.cohort)) }));
  };
