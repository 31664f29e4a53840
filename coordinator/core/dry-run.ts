// A dry run: whether a plan works on a cohort's held-out streams, and what it scores there, before the cohort learns by it.
import type { DetectionScores } from "../../learning/detection.ts";
import { type FleetStatistics, noFleet } from "../../learning/fleet.ts";
import type { PlanId } from "../../learning/ids.ts";
import type { Manifest } from "../../learning/plan.ts";
import {
  type Baselines,
  deviceAfterHead,
  type Evaluation,
  evaluateBaselines,
  evaluateModel,
  type HeldOutStream,
  type ScoreRows,
} from "./evaluate.ts";
import type { StreamRevision } from "./held-out.ts";

/**
 * - missing_channel: a stream has no column for one of the plan's channels.
 * - unusable_stream: the plan can't be measured on a stream otherwise, mostly because its head is longer than the stream.
 * - graph: scoring or training failed.
 * - not_finite: a score, a loss or a weight is not a number.
 * - no_threshold: the plan's rule fits none to a device's calibration scores.
 * - out_of_time: it was stopped.
 */
export type DryRunFault =
  | "missing_channel"
  | "unusable_stream"
  | "graph"
  | "not_finite"
  | "no_threshold"
  | "out_of_time";

export interface DryRunFailure {
  readonly fault: DryRunFault;
  /** Null: not of one stream. */
  readonly stream: string | null;
  readonly detail: string;
}

/** A plan's graphs, loaded. */
export interface RunningPlan {
  readonly manifest: Manifest;
  score(weights: Float32Array, ...rows: Parameters<ScoreRows>): ReturnType<ScoreRows>;
  /** One optimiser step over all the rows, or a forest grown from them. */
  train(weights: Float32Array, x: Float32Array, rows: number): Promise<{ loss: number; weights: Float32Array }>;
}

export interface DryRunModel {
  /** Null: the plan's initial weights, which no version has yet. */
  readonly version: number | null;
  readonly trained: boolean;
  readonly weights: Float32Array;
  readonly fleet: FleetStatistics;
}

export interface Champion {
  readonly planId: PlanId;
  readonly plan: RunningPlan;
  readonly model: DryRunModel;
  /** As its own plan reads them. */
  readonly streams: readonly HeldOutStream[];
}

export type DryRunFigures = Pick<DryRunModel, "version" | "trained"> & {
  /** All streams pooled; null: not evaluated. */
  readonly scores: DetectionScores | null;
};

export interface DryRunStream extends StreamRevision {
  readonly begin: DetectionScores | null;
  readonly carried: DetectionScores | null;
  readonly champion: DetectionScores | null;
  readonly baselines: Baselines | null;
}

/** Plans differ in how many of a stream's first rows calibrate: figures of two plans are of as many rows as their n says. */
export interface DryRunReport {
  readonly passed: boolean;
  readonly failures: readonly DryRunFailure[];
  /** What the cohort would begin with under the plan. */
  readonly begin: DryRunFigures;
  /** The champion's weights under the plan; null: there is no trained champion of another plan with this layout. */
  readonly carried: DryRunFigures | null;
  /** Under its own plan; null: the cohort has none. */
  readonly champion: (DryRunFigures & { readonly planId: PlanId }) | null;
  readonly baselines: Baselines | null;
  readonly streams: readonly DryRunStream[];
}

export class DryRunError extends Error {
  readonly fault: DryRunFault;

  constructor(fault: DryRunFault, message: string, cause?: unknown) {
    super(message, { cause });
    this.name = "DryRunError";
    this.fault = fault;
  }
}

export interface DryRunSubject {
  readonly planId: PlanId;
  readonly plan: RunningPlan;
  readonly begin: DryRunModel;
  /** As the plan reads them. */
  readonly streams: readonly HeldOutStream[];
  /** Tried without streams: feature rows of chance, [rows, featureCount]. */
  readonly example: { readonly x: Float32Array; readonly rows: number };
}

/** What an untrained model scores is told, and is no failure. Figures are null when anything failed. */
export async function dryRun(
  subject: DryRunSubject,
  champion: Champion | null,
  unread: readonly DryRunFailure[],
): Promise<DryRunReport> {
  const { plan, begin } = subject;
  const failures = [...unread, ...(await failuresOf(subject))];
  const [ofBegin, failure] = await measure(plan, begin, failures.length === 0 ? subject.streams : []);
  if (failure !== null) failures.push(failure);
  const streams = failures.length === 0 ? subject.streams : [];
  const carried = champion && carriedOver(subject, champion);
  const [ofCarried] = carried ? await measure(plan, carried, streams) : [null];
  const comparable = streams.length > 0 ? (champion?.streams ?? []) : [];
  const [ofChampion] = champion ? await measure(champion.plan, champion.model, comparable) : [null];
  return {
    passed: failures.length === 0,
    failures,
    begin: figures(begin, ofBegin),
    carried: carried && figures(carried, ofCarried),
    champion: champion && { planId: champion.planId, ...figures(champion.model, ofChampion) },
    baselines: evaluateBaselines(plan.manifest, streams),
    streams: streams.map((stream) => ({
      stream: stream.stream,
      sha256: stream.sha256,
      begin: scoresOn(ofBegin, stream),
      carried: scoresOn(ofCarried, stream),
      champion: scoresOn(ofChampion, stream),
      baselines: evaluateBaselines(plan.manifest, [stream]),
    })),
  };
}

const figures = ({ version, trained }: DryRunModel, evaluation: Evaluation | null): DryRunFigures => ({
  version,
  trained,
  scores: evaluation?.scores ?? null,
});

const scoresOn = (evaluation: Evaluation | null, { stream }: StreamRevision) =>
  evaluation?.streams.find((each) => each.stream === stream)?.scores ?? null;

/** Scales and threshold factor of the fleet are of the champion's plan, and stay with it. */
function carriedOver({ planId, plan }: DryRunSubject, champion: Champion): DryRunModel | null {
  const { version, trained, weights } = champion.model;
  const fits = champion.planId !== planId && trained && sameLayout(plan.manifest, champion.plan.manifest);
  return fits ? { version, trained, weights, fleet: noFleet } : null;
}

/** Whether weights of the one say something in the other. */
function sameLayout(a: Manifest, b: Manifest): boolean {
  const shapes = ({ weights }: Manifest) => JSON.stringify(weights.map(({ name, shape }) => [name, shape]));
  return a.model.kind === b.model.kind && a.featureCount === b.featureCount && shapes(a) === shapes(b);
}

/** Of the first steps that a gateway would take: calibrate a device and train once. */
async function failuresOf({ plan, begin, streams, example }: DryRunSubject): Promise<DryRunFailure[]> {
  if (streams.length === 0) {
    const failure = await failureOf(null, () => tryGraphs(plan, begin.weights, example.x, example.rows));
    return failure === null ? [] : [failure];
  }
  const failures: DryRunFailure[] = [];
  for (const stream of streams) {
    const failure = await failureOf(stream.stream, () => tryStream(plan, begin, stream));
    if (failure !== null) failures.push(failure);
  }
  return failures;
}

async function tryStream(plan: RunningPlan, { weights, fleet }: DryRunModel, stream: HeldOutStream): Promise<void> {
  const { manifest } = plan;
  const device = deviceAfterHead(manifest, stream, fleet);
  const { x, rows } = device.calibrationFeatures();
  if (rows === 0) throw new DryRunError("no_threshold", "its head gives no calibration row");
  device.calibrate(await tryGraphs(plan, weights, x, rows));
  if (device.threshold === null) {
    const { rule, rows: wanted } = manifest.threshold;
    throw new DryRunError("no_threshold", `${rows} of ${wanted} calibration rows, to which ${rule.kind} fits none`);
  }
}

/** Gives the rows' scores. */
async function tryGraphs(plan: RunningPlan, weights: Float32Array, x: Float32Array, rows: number) {
  const { scores } = await scoring(plan, weights)(x, rows);
  const trained = await ofGraph("training", () => plan.train(weights, x, rows));
  if (!Number.isFinite(trained.loss)) throw new DryRunError("not_finite", `the loss of a training is ${trained.loss}`);
  if (!trained.weights.every(Number.isFinite))
    throw new DryRunError("not_finite", "a training leaves no finite weights");
  return scores;
}

function scoring({ score }: RunningPlan, weights: Float32Array): ScoreRows {
  return async (x, rows) => {
    const scored = await ofGraph("scoring", () => score(weights, x, rows));
    const wrong = scored.scores.find((value) => !Number.isFinite(value));
    if (wrong !== undefined) throw new DryRunError("not_finite", `a row's score is ${wrong}`);
    return scored;
  };
}

async function ofGraph<Result>(what: string, run: () => Promise<Result>): Promise<Result> {
  try {
    return await run();
  } catch (cause) {
    throw new DryRunError("graph", `${what} failed: ${(cause as Error).message}`, cause);
  }
}

async function measure(
  plan: RunningPlan,
  { weights, fleet }: DryRunModel,
  streams: readonly HeldOutStream[],
): Promise<[Evaluation | null, DryRunFailure | null]> {
  let evaluation: Evaluation | null = null;
  const failure = await failureOf(null, async () => {
    evaluation = await evaluateModel(plan.manifest, streams, scoring(plan, weights), fleet);
  });
  return [evaluation, failure];
}

/** Rethrows what is no failure of a dry run. */
async function failureOf(stream: string | null, attempt: () => Promise<unknown>): Promise<DryRunFailure | null> {
  try {
    await attempt();
    return null;
  } catch (error) {
    if (!(error instanceof DryRunError)) throw error;
    return { fault: error.fault, stream, detail: error.message };
  }
}
