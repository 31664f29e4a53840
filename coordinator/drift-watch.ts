// Follows the champion on live streams: measures it after each window, and does what the cohort wants of a drift.
import type { CohortId, DeviceId, PlanId } from "../learning/ids.ts";
import type { Logger } from "../runtime/log.ts";
import type { CohortDirectory } from "./cohort-directory.ts";
import type { CohortState } from "./core/cohort-state.ts";
import { stepDrift } from "./core/drift.ts";
import type { Duty } from "./leader.ts";
import type { DueAction, LiveDriftStore } from "./ports/live-drift.ts";
import type { LiveMeter } from "./ports/live-meter.ts";
import { ModelActionRefusedError, type ModelActions } from "./ports/model-actions.ts";

const ACT_EVERY_MS = 2_000;
const ACTOR = "coordinator (drift)";

export interface DriftDeps {
  readonly directory: Pick<CohortDirectory, "get">;
  readonly drifts: Omit<LiveDriftStore, "list">;
  readonly openMeter: (state: CohortState) => Promise<LiveMeter>;
  readonly actions: ModelActions;
  /** The open round under the active plan, once it has its quorum. */
  readonly closeEarly: (cohort: CohortId) => void;
  readonly report: (where: string, what: string) => void;
  readonly log: Logger;
}

/** One window is measured at a time. */
export class DriftWatch {
  readonly #deps: DriftDeps;
  /** One a cohort, of the plan that it learned by last. */
  readonly #meters = new Map<CohortId, { readonly planId: PlanId; readonly meter: LiveMeter }>();

  constructor(deps: DriftDeps) {
    this.#deps = deps;
  }

  /** To be called after each window of the stream. */
  async measure(cohort: CohortId, device: DeviceId, signal: AbortSignal): Promise<void> {
    const state = this.#deps.directory.get(cohort);
    if (state === undefined) return;
    const { champion, federation, lastVersion } = state;
    const settings = federation.drift;
    const meter = await this.#meterOf(state);
    const { quality, rows, why } = await meter.measure(champion, device, settings.rows, signal);
    const before = await this.#deps.drifts.of(cohort, device);
    const step = stepDrift(before, { championVersion: champion.version, quality }, settings);
    await this.#deps.drifts.record(cohort, device, { ...step, settings, evaluatedRows: rows, why, lastVersion });
    if (step.turn !== null) this.#tell(cohort, device, step.turn, step.drift.reference, quality);
  }

  /** What drifts ask for, again and again until it is done: also what fell due under another leader. */
  duty(): Duty {
    return {
      name: "act on drifts",
      everyMs: ACT_EVERY_MS,
      run: async () => {
        for (const due of await this.#deps.drifts.due()) {
          const outcome = await this.#act(due);
          if (outcome === null) continue;
          await this.#deps.drifts.done(due, outcome);
          const { cohort, device, action } = due;
          this.#deps.log.info({ cohort, device, action, outcome }, "what a drift asked for is done");
        }
      },
    };
  }

  async close(): Promise<void> {
    const meters = [...this.#meters.values()];
    this.#meters.clear();
    await Promise.all(meters.map(({ meter }) => meter.close()));
  }

  #tell(cohort: CohortId, device: DeviceId, turn: string, reference: number | null, quality: number | null): void {
    const figures = `quality ${quality?.toFixed(3)}, at first ${reference?.toFixed(3)}`;
    const where = `cohort ${cohort}, live stream of ${device}`;
    if (turn === "drifted") this.#deps.report(where, `the champion has drifted: ${figures}`);
    else this.#deps.log.info({ cohort, device, quality, reference }, "the champion has recovered from its drift");
  }

  /** What came of it; null: it is not done yet. */
  async #act(due: DueAction): Promise<string | null> {
    const state = this.#deps.directory.get(due.cohort);
    if (state === undefined) return null;
    if (due.action === "rollback") return this.#rollBack(due);
    if (state.lastVersion > due.lastVersion) return `version ${state.lastVersion} came meanwhile`;
    this.#deps.closeEarly(due.cohort);
    return null;
  }

  async #rollBack({ cohort, device, championVersion, quality, reference, evaluatedRows }: DueAction): Promise<string> {
    const parent = await this.#deps.drifts.parentOf(cohort, championVersion);
    if (parent === null || !parent.trained) return `no trained version is before version ${championVersion}`;
    const figures = `quality ${quality.toFixed(3)} on ${evaluatedRows} rows, at first ${reference.toFixed(3)}`;
    try {
      const { championVersion: version } = await this.#deps.actions.act({
        cohort,
        action: { kind: "roll_back", version: parent.version },
        actor: ACTOR,
        reason: `drift on live/${device}: ${figures}`,
        expectedChampion: championVersion,
      });
      return `rolled back to version ${parent.version}, as version ${version}`;
    } catch (error) {
      if (error instanceof ModelActionRefusedError) return `refused: ${error.message}`;
      throw error;
    }
  }

  async #meterOf(state: CohortState): Promise<LiveMeter> {
    const { cohort, planId } = state;
    const known = this.#meters.get(cohort);
    if (known?.planId === planId) return known.meter;
    this.#meters.delete(cohort);
    await known?.meter.close();
    const meter = await this.#deps.openMeter(state);
    this.#meters.set(cohort, { planId, meter });
    return meter;
  }
}
