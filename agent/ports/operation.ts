// What watches over the agent from outside: whoever asks for health and figures, and whoever restarts it when it is stuck.
import type { Ailment } from "../core/health.ts";

export interface OperationView {
  /** None: it is healthy. */
  readonly ailments: () => readonly Ailment[];
  /** In the Prometheus text format. */
  readonly metrics: () => string;
  /** Since when rows wait and none was judged, milliseconds ago; 0: none wait. */
  readonly unjudgedForMs: () => number;
  /** The database is; the next start begins a new one. */
  readonly damaged: () => boolean;
}

export interface Operation {
  /** The longest that the event loop let a timer wait lately. */
  readonly loopLagMs: number;
  /** The agent listens: who asks is answered and who watches is told, from now on. Throws nothing. */
  begin(view: OperationView): void;
  /** The agent begins to stop, and need not make progress any more. */
  stopping(): Promise<void>;
  close(): Promise<void>;
}
