// How the champion fares on each live stream, and what is still to be done where it has drifted.
import type { CohortId, DeviceId } from "../../learning/ids.ts";
import type { DriftSettings } from "../../learning/plan.ts";
import type { Drift, DriftStep } from "../core/drift.ts";

/** What a window brought. */
export interface DriftRecord extends DriftStep {
  readonly settings: DriftSettings;
  /** Labelled rows that the quality is of. */
  readonly evaluatedRows: number;
  /** Why it was not measured; null: it was. */
  readonly why: string | null;
  /** The cohort's. */
  readonly lastVersion: number;
}

/** An action that a drift asks for and that was not done yet. */
export interface DueAction {
  readonly cohort: CohortId;
  readonly device: DeviceId;
  readonly action: "round" | "rollback";
  readonly championVersion: number;
  readonly quality: number;
  readonly reference: number;
  readonly evaluatedRows: number;
  /** The cohort's last version when it fell due. */
  readonly lastVersion: number;
}

/** Counts are of the windows that are kept. */
export interface DriftItem {
  readonly cohort: string;
  readonly stream: string;
  readonly device: string;
  readonly windows: number;
  readonly lastWindowEnd: string | null;
  readonly rows: number;
  readonly labelledRows: number;
  readonly anomalies: number;
  readonly lateRows: number;
  readonly lateLabels: number;
  readonly droppedRows: number;
  readonly droppedLabels: number;
  readonly state: "steady" | "drifted" | "not evaluated";
  /** Why it is not evaluated right now. */
  readonly why: string | null;
  readonly championVersion: number | null;
  readonly quality: number | null;
  readonly evaluatedRows: number;
  readonly reference: number | null;
  readonly windowsBelow: number;
  readonly driftedAt: string | null;
  readonly dueAction: "round" | "rollback" | null;
}

export interface LiveDriftStore {
  of(cohort: CohortId, device: DeviceId): Promise<Drift | null>;
  /** Durable, with an audit row where a drift begins or ends, before it resolves. */
  record(cohort: CohortId, device: DeviceId, record: DriftRecord): Promise<void>;
  /** For now; what was measured before stands for when it is evaluated again. */
  notEvaluated(cohort: CohortId, device: DeviceId, why: string): Promise<void>;
  due(): Promise<DueAction[]>;
  /** It is not due any more; with an audit row that says what came of it. */
  done(due: DueAction, outcome: string): Promise<void>;
  /** The version that the champion's weights came from, or the one before that if it was rolled back, and so on. */
  parentOf(
    cohort: CohortId,
    championVersion: number,
  ): Promise<{ readonly version: number; readonly trained: boolean } | null>;
  /** Of each live stream of the cohort. Rejects with UnknownModelError where there is no cohort. */
  list(cohort: CohortId): Promise<DriftItem[]>;
}
