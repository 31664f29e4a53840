// What the agent tells of itself to who watches over it: whether it does its work, and its figures.
import type { Cohort } from "./cohort.ts";
import { ailments } from "./core/health.ts";
import type { IntakeWatch } from "./intake.ts";
import type { Ledger } from "./ledger.ts";
import type { AgentFigures } from "./metrics.ts";
import { agentMetrics } from "./metrics.ts";
import type { AgentStore } from "./ports/agent-store.ts";
import type { OperationView } from "./ports/operation.ts";

/** What the loop counts and knows. */
type Counted = Pick<
  AgentFigures,
  | "rowsJudged"
  | "rowsWaiting"
  | "refusals"
  | "wordRefusals"
  | "troubles"
  | "episodeChanges"
  | "brokerConnected"
  | "coordinatorConnected"
  | "loopLagMs"
>;

export interface VitalsDeps {
  readonly version: string;
  readonly startedAtMs: number;
  readonly cohorts: Iterable<Cohort>;
  readonly store: AgentStore;
  readonly ledger: Ledger;
  readonly intake: IntakeWatch;
  readonly counted: () => Counted;
  /** The clock of `intake`. */
  readonly monotonicMs: () => number;
}

export function vitalsOf(deps: VitalsDeps): OperationView {
  const { version, startedAtMs, store, ledger, intake, counted, monotonicMs } = deps;
  const found = () =>
    ailments(
      {
        intake: intake.intake,
        unjudgedSinceMs: intake.unjudgedSinceMs,
        loopLagMs: counted().loopLagMs,
        unwritable: store.state().unwritable,
      },
      monotonicMs(),
    );
  return {
    ailments: found,
    metrics: () =>
      agentMetrics({
        ...counted(),
        version,
        startedAtMs,
        healthy: found().length === 0,
        messages: intake.intake?.messages ?? 0,
        devices: devicesByDetector(deps.cohorts),
        rssBytes: process.memoryUsage.rss(),
        outboxBytes: store.outboxBytes(),
        counter: (name) => store.counter(name),
        store: store.state(),
        today: ledger.today(),
        withheld: ledger.withheld(),
      }),
    damaged: () => store.state().damaged,
    unjudgedForMs: () => (intake.unjudgedSinceMs === null ? 0 : monotonicMs() - intake.unjudgedSinceMs),
  };
}

function devicesByDetector(cohorts: Iterable<Cohort>): Map<string, number> {
  const counts = new Map<string, number>();
  for (const { devices } of cohorts)
    for (const { kind } of devices.values()) counts.set(kind, (counts.get(kind) ?? 0) + 1);
  return counts;
}
