// Measures a champion on a live stream, with a score graph of its own: rounds go on meanwhile.

import { summarise } from "../../learning/metrics.ts";
import type { PlanBundle } from "../../proto/plan-bundle.ts";
import { PlanModel } from "../../runtime/plan-model.ts";
import { detected, evaluateModel } from "../core/evaluate.ts";
import { quality } from "../core/gate.ts";
import { liveStreamName } from "../core/live-stream.ts";
import type { LiveMeter } from "../ports/live-meter.ts";
import type { LiveHeldOut } from "./live-held-out.ts";

export async function openLiveMeter(plan: PlanBundle, live: () => Promise<LiveHeldOut>): Promise<LiveMeter> {
  const model = await PlanModel.load(plan);
  return {
    measure: async ({ weights, trained, fleet }, device, rows, signal) => {
      const none = (why: string) => ({ quality: null, rows: 0, why });
      const { streams, refused } = await live();
      const stream = streams.find((each) => each.stream === liveStreamName(device));
      if (stream === undefined) return none(refused.get(device) ?? "it is no live stream of the cohort any more");
      if (!trained) return none("the champion is not trained yet");
      const score = (x: Float32Array, n: number) => {
        signal.throwIfAborted();
        return model.score(weights, x, n);
      };
      const evaluation = await evaluateModel(plan.manifest, [stream], score, fleet);
      if (evaluation === null) return none("the device has no threshold");
      const last = evaluation.rows.slice(-rows);
      const measured = quality(summarise({ ...detected(stream, last), loss: null }));
      const why = measured === null ? `the last ${last.length} labelled rows lack normal rows or anomalies` : null;
      return { quality: measured, rows: last.length, why };
    },
    close: () => model.release(),
  };
}
