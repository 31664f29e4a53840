// The labelled streams that candidates are measured on, and nobody trains on.
import type { CohortId, DeviceId } from "../../learning/ids.ts";
import type { StreamRevision } from "../core/held-out.ts";
import type { Page, PageRequest } from "./fleet-queries.ts";
import { ModelError } from "./model-actions.ts";

export interface HeldOutItem {
  readonly cohort: string;
  readonly name: string;
  readonly sha256: string;
  /** Evaluated on are the frozen ones. A retired one has no content any more: its row stays, as evaluations name it. */
  readonly state: "draft" | "frozen" | "retired";
  readonly source: "folder" | "upload";
  readonly rows: number;
  readonly anomalies: number;
  readonly bytes: number;
  readonly createdAt: string;
  readonly frozenAt: string | null;
  readonly retiredAt: string | null;
}

export interface HeldOutKey {
  readonly cohort: string;
  readonly name: string;
  readonly sha256: string;
}

/** What became of a file of the folder; "retired": an operator retired this very content, and so it stays. */
export type ImportOutcome = "frozen" | "known" | "replaced" | "retired";

/**
 * A frozen stream's content never changes. Changes are durable, with their audit rows, before they resolve. Each call
 * rejects with HeldOutError for what can't be done, and FleetUnavailableError when the store does not answer.
 */
export interface HeldOutStreams {
  /** Checked against the cohort's plan. The same content again changes nothing; another one takes a draft's place. */
  upload(cohort: CohortId, name: DeviceId, csv: Uint8Array, actor: string): Promise<HeldOutItem>;
  /** Freezes the content at once, in place of what the folder gave under the name before. */
  importFile(cohort: CohortId, name: DeviceId, csv: Uint8Array): Promise<ImportOutcome>;
  freeze(cohort: CohortId, name: DeviceId, actor: string): Promise<HeldOutItem>;
  retire(cohort: CohortId, name: DeviceId, actor: string): Promise<HeldOutItem>;
  /** The one that is not retired, or else the one that was retired last. */
  one(cohort: CohortId, name: DeviceId): Promise<HeldOutItem>;
  /** Every revision. */
  list(page: PageRequest<HeldOutKey>): Promise<Page<HeldOutItem, HeldOutKey>>;
  /** Frozen, by name; cheap. */
  frozen(cohort: CohortId): Promise<StreamRevision[]>;
  /** Null: it was retired meanwhile. */
  content(cohort: CohortId, revision: StreamRevision): Promise<Uint8Array | null>;
}

export type HeldOutFault = "unknown" | "refused" | "unusable" | "too_large";

export class HeldOutError extends ModelError {
  readonly fault: HeldOutFault;

  constructor(fault: HeldOutFault, message: string) {
    super(message);
    this.name = "HeldOutError";
    this.fault = fault;
  }
}
