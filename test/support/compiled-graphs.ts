// Plans of models that are descended: with their graphs, which a forest's plan lacks.
import { type CompiledGraphs, type CompiledPlan, compilePlan } from "../../learning/compile-plan.ts";
import { buildModel, type Model } from "../../learning/models/build-model.ts";
import type { PlanSettings } from "../../learning/plan.ts";

export type DescendedPlan = CompiledPlan & CompiledGraphs;

export function compileGraphs(settings: PlanSettings): DescendedPlan {
  const plan = compilePlan(settings);
  if (plan.graphs === null) throw new Error(`a ${settings.model.kind} has no graphs`);
  return { ...plan, ...plan.graphs };
}

export function buildGraphs(settings: PlanSettings): Model & NonNullable<Model["graphs"]> {
  const model = buildModel(settings);
  if (model.graphs === null) throw new Error(`a ${settings.model.kind} has no graphs`);
  return { ...model, ...model.graphs };
}
