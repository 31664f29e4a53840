// Measures a champion on a live stream of its cohort.
import type { DeviceId } from "../../learning/ids.ts";
import type { GlobalModel } from "../core/cohort-state.ts";

export interface LiveMeasure {
  /** As the gate's; null: `why` says so. */
  readonly quality: number | null;
  /** Labelled rows that were evaluated. */
  readonly rows: number;
  readonly why: string | null;
}

/** Of one cohort under one plan. */
export interface LiveMeter {
  /** On the stream's last `rows` labelled rows as they are stored now. Rejects when `signal` aborts. */
  measure(model: GlobalModel, device: DeviceId, rows: number, signal: AbortSignal): Promise<LiveMeasure>;
  close(): Promise<void>;
}
