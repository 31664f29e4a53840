// Closed windows of live streams, as whoever leads left them.
import type { CohortId, DeviceId } from "../../learning/ids.ts";
import type { ClosedWindow, LiveRow } from "../core/live-windows.ts";

export interface LiveWindowKey {
  readonly device: string;
  readonly startMs: number;
  /** Of its content. */
  readonly sha256: string;
}

export interface LiveContent {
  /** What the values of each row are of, in order. */
  readonly channels: readonly string[];
  /** By time. */
  readonly rows: readonly LiveRow[];
}

export interface LiveWindowStore {
  /**
   * Durable before it resolves. A window that is there already stays as it is. Of a stream the newest KEPT_WINDOWS are
   * kept.
   */
  add(
    cohort: CohortId,
    device: DeviceId,
    channels: readonly string[],
    window: ClosedWindow,
  ): Promise<"stored" | "known">;
  /** Where the stream's last window ends; null: it has none. */
  lastEndMs(cohort: CohortId, device: DeviceId): Promise<number | null>;
  /** By device and time; cheap. */
  keys(cohort: CohortId): Promise<LiveWindowKey[]>;
  /** Null: it is gone meanwhile. */
  content(cohort: CohortId, key: LiveWindowKey): Promise<LiveContent | null>;
}
