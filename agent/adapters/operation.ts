// Health and figures over HTTP, systemd's notifications, and the end of an agent that is stuck.
import type { Server } from "node:http";
import type { HostAndPort } from "../../runtime/config.ts";
import type { Operation, OperationView } from "../ports/operation.ts";
import { operationServer } from "./http.ts";
import { LoopBeat } from "./loop-beat.ts";
import { type LoopGuard, openLoopGuard } from "./loop-guard.ts";
import { notifySystemd } from "./systemd.ts";

export interface OperationSettings {
  /** Null: off. */
  readonly http: HostAndPort | null;
  /** A loop that stands still, or rows of which none is judged, for so long end the process; null: never. */
  readonly stuckMs: number | null;
  /** There is a systemd that wants to be told. */
  readonly systemd: boolean;
  /** How long systemd waits for a sign of life; null: it does not. */
  readonly watchdogMs: number | null;
  readonly onProblem: (what: string) => void;
  /** Called once, with the reason, when the agent can't go on while its loop goes round. */
  readonly onStuck: (what: string) => void;
}

/** Shell and systemd get this many signs of life in the time after which they end the agent. */
const SIGNS = 4;

export class AgentOperation implements Operation {
  readonly #settings: OperationSettings;
  readonly #guard: LoopGuard | null;
  readonly #beat: LoopBeat;
  #server: Server | null = null;
  #view: OperationView | null = null;
  #guardedAtMs = Number.NEGATIVE_INFINITY;
  #toldAtMs = Number.NEGATIVE_INFINITY;

  constructor(settings: OperationSettings) {
    this.#settings = settings;
    this.#guard = settings.stuckMs === null ? null : openLoopGuard(settings.stuckMs, settings.onProblem);
    this.#beat = new LoopBeat(() => this.#goRound());
  }

  get loopLagMs(): number {
    return this.#beat.lagMs;
  }

  begin(view: OperationView): void {
    this.#view = view;
    this.#tell("READY=1");
    const { http, onProblem } = this.#settings;
    if (http === null) return;
    this.#server = operationServer(view);
    this.#server.on("error", (error) => onProblem(`health and metrics are not served: ${error.message}`));
    this.#server.listen(http.port, http.host);
  }

  async stopping(): Promise<void> {
    this.#view = null;
    if (this.#settings.systemd) await notifySystemd("STOPPING=1").catch(() => undefined);
  }

  async close(): Promise<void> {
    this.#beat.close();
    this.#guard?.close();
    this.#server?.close();
    this.#server?.closeAllConnections();
  }

  #goRound(): void {
    const { stuckMs, watchdogMs, onStuck } = this.#settings;
    const nowMs = performance.now();
    if (stuckMs !== null && nowMs - this.#guardedAtMs >= stuckMs / SIGNS) {
      this.#guardedAtMs = nowMs;
      this.#guard?.beat();
    }
    if (this.#view === null) return;
    const why = this.#whyStuck(this.#view);
    if (why !== null) {
      this.#view = null;
      onStuck(`${why}; the process ends`);
    } else if (watchdogMs !== null && nowMs - this.#toldAtMs >= watchdogMs / SIGNS) {
      this.#toldAtMs = nowMs;
      this.#tell("WATCHDOG=1");
    }
  }

  #whyStuck({ damaged, unjudgedForMs }: OperationView): string | null {
    if (damaged()) return "the database was found damaged, and is set aside with the next start";
    const { stuckMs } = this.#settings;
    const unjudgedMs = unjudgedForMs();
    if (stuckMs === null || unjudgedMs <= stuckMs) return null;
    return `rows wait and none was judged for ${Math.round(unjudgedMs / 1000)} s`;
  }

  #tell(state: "READY=1" | "WATCHDOG=1"): void {
    if (!this.#settings.systemd) return;
    notifySystemd(state).catch((error: Error) => this.#settings.onProblem(`systemd was not told: ${error.message}`));
  }
}
