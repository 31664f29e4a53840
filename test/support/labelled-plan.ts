// A classifier that learns within seconds from labelled rows of two channels.
import type { PlanSettings } from "../../learning/plan.ts";
import { smallSettings } from "./small-plan.ts";

export function labelledSettings(): PlanSettings {
  const settings = smallSettings();
  return {
    ...settings,
    model: { kind: "classifier", hidden: [] },
    training: {
      ...settings.training,
      learningRate: 0.5,
      triggerRows: 20,
      passes: 20,
      loss: { kind: "cross_entropy" },
    },
    threshold: { rule: { kind: "fixed", threshold: 0.5 }, rows: 30 },
  };
}
