// What the coordinator keeps of devices' windows, and the statistics of whole days made of them.
import type { GatewayId } from "../../learning/ids.ts";
import type { CheckedWindow } from "../core/check-windows.ts";
import type { DayState } from "../core/days-due.ts";

export interface GatewayWindows {
  readonly gatewayId: GatewayId;
  readonly windows: readonly CheckedWindow[];
}

export interface AnalyticsStore {
  /**
   * All of them or none, durable before it resolves; at most one entry a gateway. Of two tellings of a window the one with more samples stands: repeating changes nothing.
   * The averages over five minutes are right afterwards, also those of windows that follow one that came late.
   */
  addWindows(told: readonly GatewayWindows[]): Promise<void>;
  /** Days that have windows and were not analysed since the last of them came, oldest first. */
  changedDays(): Promise<DayState[]>;
  /**
   * Puts the statistics of all the day's windows in place of those there are, all or none of it, and resolves with of how
   * many channels; 0: it has no windows, or not all of them any more, and what there is stays. Rejects with AnalysisRunningError
   * while another one runs, here or in another coordinator, with FleetUnavailableError when the store does not answer, and
   * soon after `signal` aborts: the day stays due.
   */
  analyseDay(day: string, signal: AbortSignal): Promise<number>;
}

export class AnalysisRunningError extends Error {
  constructor() {
    super("an analysis is running; ask again when it is done");
    this.name = "AnalysisRunningError";
  }
}
