// A cohort's file as an operator writes it.
import { writeFileSync } from "node:fs";
import { join } from "node:path";
import type { PlanSettings } from "../../learning/plan.ts";
import { pumpPlan } from "./plan-settings.ts";

/** Its path, named after the cohort. JSON is YAML. */
export const cohortFileIn =
  (folder: string) =>
  (name: string, round: object, federation: object = {}, plan: PlanSettings = pumpPlan): string => {
    const file = join(folder, `${name}.yaml`);
    writeFileSync(file, JSON.stringify({ cohort: name, plan, federation: { round, ...federation } }));
    return file;
  };
