// What a database holds of a federation, row by row, to be compared with what it holds later.

/** Each with the column that orders it, in which no two rows of a test are equal. */
const TABLES = {
  plans: "plan_id",
  cohorts: "cohort",
  rounds: "round_id",
  local_models: "id",
  federated_models: "global_version",
  model_evaluations: "global_version, row_index",
  model_feedback: "id",
  model_evaluation_summaries: "global_version",
};

export async function readTables(query: (text: string) => Promise<{ rows: unknown[] }>) {
  const read: Record<string, unknown[]> = {};
  for (const [table, order] of Object.entries(TABLES)) {
    read[table] = (await query(`SELECT to_jsonb(t) AS row FROM ${table} t ORDER BY ${order}`)).rows;
  }
  return read;
}
