// Plans of a running coordinator, over its REST API.
import { readFile } from "node:fs/promises";
import type { DryRunAnswer } from "./dry-run-text.ts";
import type { CohortPlan } from "./plan-diff.ts";
import { callApi } from "./rest.ts";

/** A coordinator stops a dry run before. */
const DRY_RUN_TIMEOUT_MS = 280_000;

interface Uploaded {
  readonly planId: string;
  readonly cohort: string;
  readonly federation: object;
}

interface Activated {
  readonly cohort: string;
  readonly planId: string;
  readonly championVersion: number;
  readonly leaving: string | null;
}

interface PlanAnswer {
  readonly planId: string;
  readonly manifest: Readonly<Record<string, unknown>>;
  readonly cohorts: readonly {
    readonly cohort: string;
    readonly state: string;
    readonly championVersion: number;
    readonly federation: object;
  }[];
}

export interface ActivationChoice {
  readonly reason: string;
  readonly force?: boolean;
  readonly leaveAfterMs?: number;
}

/** The cohort that the file names goes on as it does. */
export const uploadPlan = async (url: string, file: string): Promise<Uploaded> =>
  callApi(url, "/api/v1/plans", await readFile(file, "utf8"));

export const dryRunPlan = (url: string, { planId, cohort }: Uploaded): Promise<DryRunAnswer> =>
  callApi(url, `/api/v1/plans/${planId}/dry-run`, { cohort }, DRY_RUN_TIMEOUT_MS);

export function activateUploaded(url: string, uploaded: Uploaded, choice: ActivationChoice): Promise<Activated> {
  const { planId, cohort, federation } = uploaded;
  const path = `/api/v1/cohorts/${encodeURIComponent(cohort)}/activate`;
  return callApi(url, path, { planId, federation, ...choice });
}

/** What the cohort learns by. */
export async function cohortPlan(url: string, cohort: string): Promise<CohortPlan> {
  const { cohorts } = await callApi<{ cohorts: { cohort: string; planId: string }[] }>(url, "/api/v1/health");
  const found = cohorts.find((each) => each.cohort === cohort);
  if (found === undefined) {
    throw new Error(`there is no cohort ${cohort}; there are ${cohorts.map((each) => each.cohort).join(", ")}`);
  }
  const { planId, manifest, cohorts: held } = await planOf(url, found.planId);
  const federation = held.find((each) => each.cohort === cohort)?.federation ?? {};
  const { parseCohortFile } = await import("../coordinator/adapters/cohort-file.ts");
  const file = { cohort, plan: await settingsOf(manifest), federation };
  return { planId, settings: parseCohortFile(JSON.stringify(file)) }; // JSON is YAML
}

/** A plan of whatever cohort, as a plan file says it, and who learns by it. */
export async function planById(url: string, planId: string) {
  const { manifest, cohorts } = await planOf(url, planId);
  return { plan: await settingsOf(manifest), cohorts };
}

const planOf = (url: string, planId: string) => callApi<PlanAnswer>(url, `/api/v1/plans/${planId}`);

/** Without what is computed from them. */
async function settingsOf(manifest: PlanAnswer["manifest"]): Promise<object> {
  const { planKeys } = await import("../proto/plan-schema.ts");
  return Object.fromEntries(planKeys.map((key) => [key, manifest[key]]));
}
