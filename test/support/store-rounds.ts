// Rounds of a real store without sessions: updates come from the test, and so does how good the candidate is.
import { ulid } from "ulid";
import type { Database } from "../../coordinator/adapters/database.ts";
import { postgresFederationStore } from "../../coordinator/adapters/postgres-federation-store.ts";
import { postgresGatewayStandings } from "../../coordinator/adapters/postgres-gateway-standings.ts";
import type { CohortState } from "../../coordinator/core/cohort-state.ts";
import type { EvaluatedRow } from "../../coordinator/core/evaluate.ts";
import type { FederationStore } from "../../coordinator/ports/federation-store.ts";
import type { GatewayStandings } from "../../coordinator/ports/gateway-standings.ts";
import { type RoundOutcome, runRound } from "../../coordinator/run-round.ts";
import { compilePlan } from "../../learning/compile-plan.ts";
import { type CohortId, gatewayId, updateId } from "../../learning/ids.ts";
import type { PlanSettings } from "../../learning/plan.ts";
import { encodeBundle } from "../../proto/plan-bundle.ts";
import { encodeWeights } from "../../proto/weights.ts";
import { BY_TEST, cohortState } from "./cohort-state.ts";
import { scores } from "./fleet-rows.ts";
import { roomyIntake } from "./roomy-intake.ts";

export class StoreRounds {
  readonly cohort: CohortId;
  readonly store: FederationStore;
  readonly standings: GatewayStandings;

  constructor(database: Database, cohort: CohortId) {
    this.store = postgresFederationStore(database.kysely, roomyIntake(database));
    this.standings = postgresGatewayStandings(database.kysely);
    this.cohort = cohort;
  }

  async define(settings: PlanSettings): Promise<void> {
    const compiled = compilePlan(settings);
    const { planId, bytes } = encodeBundle(compiled);
    const plan = { planId, bundle: bytes, manifest: compiled.manifest, initialWeights: compiled.initialWeights };
    await this.store.defineCohort(this.cohort, plan, cohortState().federation, BY_TEST);
  }

  async state(): Promise<CohortState> {
    const state = await this.store.loadCohort(this.cohort);
    if (state === null) throw new Error(`there is no cohort ${this.cohort}`);
    return state;
  }

  /** Stores one update of each gateway, all its parameters `step`, on the champion or another base. */
  async push(
    gateways: readonly string[],
    step = 0.01,
    { base, under }: { readonly base?: number | undefined; readonly under?: CohortState } = {},
  ): Promise<string[]> {
    const { planId, champion } = under ?? (await this.state());
    return Promise.all(
      gateways.map(async (gateway) => {
        const id = updateId(ulid());
        await this.store.addUpdate({
          updateId: id,
          cohort: this.cohort,
          planId,
          gatewayId: gatewayId(gateway),
          baseVersion: base ?? champion.version,
          localSteps: 1,
          samples: 50,
          loss: 1,
          encoding: "float32",
          delta: encodeWeights(new Float32Array(champion.weights.length).fill(step)),
        });
        return id;
      }),
    );
  }

  /**
   * Runs the open round as `before` stands. `quality` is the candidate's, the champion's is a half; null: not evaluated.
   * `whileEvaluating` happens before anything is recorded.
   */
  async run(
    before: CohortState,
    quality: number | null = null,
    whileEvaluating: () => Promise<unknown> = async () => undefined,
  ): Promise<RoundOutcome> {
    const evaluate = async (weights: Float32Array) => {
      if (quality === null) return null;
      const its = weights === before.champion.weights ? 0.5 : quality;
      const measured = { ...scores(100, 40, its), f1: its };
      return { scores: measured, streams: [], frozen: measured, set: "streams", rows: ROWS };
    };
    const evaluator = {
      baselines: null,
      evaluate: async (weights: Float32Array) => {
        await whileEvaluating();
        return evaluate(weights);
      },
    };
    return runRound({ store: this.store, standings: this.standings, evaluator }, before, new AbortController().signal);
  }

  /** Two gateways' updates and their round. */
  async round(quality: number | null = null, step?: number): Promise<RoundOutcome> {
    await this.push(["gw-a", "gw-b"], step);
    return this.run(await this.state(), quality);
  }
}

const row = (stream: string, rowIndex: number, prediction: 0 | 1, actual: 0 | 1): EvaluatedRow => ({
  stream,
  rowIndex,
  prediction,
  actual,
  score: rowIndex + 0.5,
  threshold: 1,
  confidence: 0.9,
  alarm: prediction,
});

const ROWS = [row("north", 0, 1, 1), row("north", 1, 1, 0), row("north", 2, 0, 0), row("south", 0, 0, 1)];
