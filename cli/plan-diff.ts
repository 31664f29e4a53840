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

/**
 * Every value that is no object by its path; lists are values. Of a list of named things each is one by its name, and the
 * list is the order of their names.
 */
function leaves(value: object, path = ""): Map<string, string> {
  const found = new Map<string, string>();
  for (const [key, inner] of Object.entries(value)) {
    const at = path === "" ? key : `${path}.${key}`;
    if (inner === undefined) continue;
    const named = Array.isArray(inner) ? byName(inner) : null;
    if (named !== null) {
      found.set(at, JSON.stringify(Object.keys(named)));
      for (const [deeper, leaf] of leaves(named, at)) found.set(deeper, leaf);
    } else if (inner === null || typeof inner !== "object" || Array.isArray(inner))
      found.set(at, JSON.stringify(inner));
    else for (const [deeper, leaf] of leaves(inner, at)) found.set(deeper, leaf);
  }
  return found;
}

/** Channels by their names; null: it lists something else. */
function byName(list: readonly unknown[]): Record<string, object> | null {
  const named: [string, object][] = [];
  for (const each of list) {
    if (typeof each !== "object" || each === null || !("name" in each) || typeof each.name !== "string") return null;
    const { name, ...rest } = each;
    named.push([name, rest]);
  }
  return named.length === 0 ? null : Object.fromEntries(named);
}
