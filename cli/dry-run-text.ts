// What a dry run said, for people.
import { textTable } from "./text-table.ts";

interface Scores {
  readonly n: number;
  readonly precision: number | null;
  readonly recall: number | null;
  readonly f1: number | null;
  readonly prAuc: number | null;
}

interface Figures {
  readonly version: number | null;
  readonly trained: boolean;
  readonly scores: Scores | null;
}

interface Baselines {
  readonly alwaysNormal: Scores;
  readonly alwaysAlarm: Scores;
  readonly zScore: Scores;
}

export interface DryRunAnswer {
  readonly dryRunId: number;
  readonly planId: string;
  readonly cohort: string;
  readonly set: string | null;
  readonly passed: boolean;
  readonly failures: readonly { readonly fault: string; readonly stream: string | null; readonly detail: string }[];
  readonly begin: Figures;
  readonly carried: Figures | null;
  readonly champion: Figures | null;
  readonly baselines: Baselines | null;
  readonly streams: readonly {
    readonly stream: string;
    readonly begin: Scores | null;
    readonly carried: Scores | null;
    readonly champion: Scores | null;
    readonly baselines: Baselines | null;
  }[];
}

export function dryRunText(run: DryRunAnswer): string {
  const verdict = run.passed ? "passed" : "failed";
  return [
    `plan ${run.planId}: its dry run ${run.dryRunId} for cohort ${run.cohort} ${verdict}`,
    ...(run.champion === null ? [`there is no cohort ${run.cohort} yet: activation begins it`] : []),
    ...run.failures.map(({ fault, stream, detail }) => `  ${fault}${stream ? `, stream ${stream}` : ""}: ${detail}`),
    run.streams.length > 0 ? `\n${table(run)}\n` : unmeasured(run),
  ].join("\n");
}

function unmeasured({ set }: DryRunAnswer): string {
  if (set !== null) return "not evaluated";
  return "not evaluated: the cohort has no frozen held-out stream; the plan's graphs were run on rows of chance";
}

function table(run: DryRunAnswer): string {
  const { begin, carried, champion, baselines, streams } = run;
  const models: [string, Scores | null | undefined, (stream: DryRunAnswer["streams"][number]) => Scores | null][] = [
    [beginning(begin), begin.scores, (stream) => stream.begin],
    ["the champion's weights under it", carried?.scores, (stream) => stream.carried],
    ["the champion under its own plan", champion?.scores, (stream) => stream.champion],
    ["z-score", baselines?.zScore, (stream) => stream.baselines?.zScore ?? null],
    ["always an alarm", baselines?.alwaysAlarm, (stream) => stream.baselines?.alwaysAlarm ?? null],
    ["always normal", baselines?.alwaysNormal, (stream) => stream.baselines?.alwaysNormal ?? null],
  ];
  const shown = models.filter(([, pooled]) => pooled !== undefined);
  return textTable([
    ["model", "stream", "n", "precision", "recall", "F1", "PR-AUC"],
    ...shown.map(([name, pooled]) => [name, "all", ...cells(pooled ?? null)]),
    ...streams.flatMap((stream) => shown.map(([name, , of]) => [name, stream.stream, ...cells(of(stream))])),
  ]);
}

function beginning({ version, trained }: Figures): string {
  if (version === null) return "the plan's initial weights, untrained";
  return `the plan's version ${version}${trained ? "" : ", untrained"}`;
}

const share = (value: number | null) => value?.toFixed(3) ?? "-";

function cells(scores: Scores | null): string[] {
  if (scores === null) return ["not evaluated", "-", "-", "-", "-"];
  const { n, precision, recall, f1, prAuc } = scores;
  return [String(n), ...[precision, recall, f1, prAuc].map(share)];
}
