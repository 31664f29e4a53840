// What differs between two plans of cohorts, key by key, and what it means for the gateways.
import type { CohortSettings } from "../learning/plan.ts";

/** Whole settings, as read from a file or from a coordinator, and the id of their plan. */
export interface CohortPlan {
  readonly planId: string;
  readonly settings: CohortSettings;
}

export interface PlanDifference {
  readonly changes: readonly { readonly key: string; readonly from: string; readonly to: string }[];
  readonly meaning: string;
}

export function diffPlans(a: CohortPlan, b: CohortPlan): PlanDifference {
  const [from, to] = [leaves(a.settings), leaves(b.settings)];
  const keys = [...new Set([...from.keys(), ...to.keys()])].sort();
  const shown = (values: ReadonlyMap<string, string>, key: string) => values.get(key) ?? "(absent)";
  const changes = keys
    .map((key) => ({ key, from: shown(from, key), to: shown(to, key) }))
    .filter((change) => change.from !== change.to);
  return { changes, meaning: meaningOf(a, b, changes.length > 0) };
}

function meaningOf(a: CohortPlan, b: CohortPlan, differ: boolean): string {
  if (a.planId !== b.planId)
    return "another plan, which its gateways fetch: the cohort begins from its initial weights, unless it had that plan before";
  if (a.settings.cohort !== b.settings.cohort)
    return "the same plan for another cohort: agents that hold it have nothing to fetch";
  if (differ) return "federation only, the same plan: agents keep their weights and notice nothing";
  return "nothing differs: the same plan, and the same federation settings";
}

/** Every value that is no object by its path; lists are values. */
function leaves(value: object, path = ""): Map<string, string> {
  const found = new Map<string, string>();
  for (const [key, inner] of Object.entries(value)) {
    const at = path === "" ? key : `${path}.${key}`;
    if (inner === undefined) continue;
    if (inner === null || typeof inner !== "object" || Array.isArray(inner)) found.set(at, JSON.stringify(inner));
    else for (const [deeper, leaf] of leaves(inner, at)) found.set(deeper, leaf);
  }
  return found;
}
