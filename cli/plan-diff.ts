// What differs between two plan files, key by key, and what it means for the gateways of their cohort.
import { compilePlan } from "../learning/compile-plan.ts";
import type { CohortSettings } from "../learning/plan.ts";
import { encodeBundle } from "../proto/plan-bundle.ts";

export interface PlanDifference {
  readonly changes: readonly { readonly key: string; readonly from: string; readonly to: string }[];
  readonly meaning: string;
}

/** Both whole, as read from their files. */
export function diffPlans(a: CohortSettings, b: CohortSettings): PlanDifference {
  const [from, to] = [leaves(a), leaves(b)];
  const keys = [...new Set([...from.keys(), ...to.keys()])].sort();
  const shown = (values: ReadonlyMap<string, string>, key: string) => values.get(key) ?? "(absent)";
  const changes = keys
    .map((key) => ({ key, from: shown(from, key), to: shown(to, key) }))
    .filter((change) => change.from !== change.to);
  return { changes, meaning: meaningOf(a, b, changes.length > 0) };
}

function meaningOf(a: CohortSettings, b: CohortSettings, differ: boolean): string {
  const [from, to] = [a, b].map(({ plan }) => encodeBundle(compilePlan(plan)).planId);
  if (from !== to) return "another plan: the cohort begins from its initial weights, and its gateways fetch it";
  if (a.cohort !== b.cohort) return "the same plan for another cohort: agents that hold it have nothing to fetch";
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
