// The gateway's side of the session: what waits in the outbox goes up until it is answered, what comes down is applied.
import { type BackoffSettings, backoffMs, pause } from "../runtime/retry.ts";
import type { AgentStore, UnreportedEpisode } from "./ports/agent-store.ts";
import type {
  CoordinatorLink,
  Feedback,
  FeedbackAcknowledgement,
  FromCoordinator,
  GlobalModel,
  Hello,
  Report,
  Session,
  Update,
} from "./ports/coordinator-link.ts";

const MAX_IN_FLIGHT = 32;
const RECONNECT: BackoffSettings = { firstMs: 1_000, maxMs: 30_000 };

export interface UplinkHandlers {
  readonly hello: () => Hello;
  /** Null: nothing to report. */
  readonly report: (
    asked: boolean,
  ) => { readonly report: Report; readonly episodes: readonly UnreportedEpisode[] } | null;
  readonly planChanged: (message: Extract<FromCoordinator, { kind: "planChanged" }>) => void;
  readonly globalModel: (message: GlobalModel) => Promise<void>;
  readonly feedback: (message: Feedback) => Promise<FeedbackAcknowledgement>;
  readonly sessionChanged: (connected: boolean, detail: string) => void;
  readonly problem: (kind: "no_session" | "update_refused" | "bad_message" | "unknown_cohort", what: string) => void;
}

export interface UplinkDeps {
  readonly link: CoordinatorLink;
  readonly store: AgentStore;
  readonly random: () => number;
  readonly handlers: UplinkHandlers;
}

/** At most one session, 32 unanswered updates and one unanswered report at a time. */
export class Uplink {
  readonly #deps: UplinkDeps;
  #session: Session | null = null;
  /** Ids of updates sent in this session and not answered yet. */
  readonly #inFlight = new Set<string>();
  #pumping = false;
  #retryTimer: NodeJS.Timeout | null = null;
  #unanswered: { readonly reportId: string; readonly episodes: readonly UnreportedEpisode[] } | null = null;
  #reportWanted = false;

  constructor(deps: UplinkDeps) {
    this.#deps = deps;
  }

  /** Sessions, one after the other, until `signal` aborts; never rejects. */
  async run(signal: AbortSignal): Promise<void> {
    for (let attempt = 0; !signal.aborted; attempt++) {
      let waitMs = 0;
      try {
        const session = await this.#deps.link.connect(this.#deps.handlers.hello(), signal);
        attempt = 0;
        waitMs = await this.#serve(session);
      } catch (error) {
        if (!signal.aborted) this.#deps.handlers.problem("no_session", (error as Error).message);
      }
      if (!signal.aborted) await pause(waitMs + backoffMs(attempt, RECONNECT, this.#deps.random), signal);
    }
  }

  /** Sends what the outbox holds and was not sent in this session, oldest first. */
  async wake(): Promise<void> {
    if (this.#pumping || this.#retryTimer !== null) return;
    this.#pumping = true;
    try {
      for (let next = this.#nextUpdate(); next !== null; next = this.#nextUpdate()) {
        this.#inFlight.add(next.update.updateId);
        await next.session.send({ kind: "update", update: next.update });
      }
    } catch {
      // The session is over: the next one begins with the oldest unanswered update.
    } finally {
      this.#pumping = false;
    }
  }

  /** `asked`: also when nothing changed. */
  async report(asked = false): Promise<void> {
    const session = this.#session;
    if (session === null) return;
    if (this.#unanswered !== null) {
      this.#reportWanted = true;
      return;
    }
    const next = this.#deps.handlers.report(asked);
    if (next === null) return;
    this.#unanswered = { reportId: next.report.reportId, episodes: next.episodes };
    await session.send({ kind: "report", report: next.report }).catch(() => undefined);
  }

  /** Resolves with the time to stay away when the session ends. */
  async #serve(session: Session): Promise<number> {
    const { handlers } = this.#deps;
    this.#session = session;
    for (const cohort of session.unknownCohorts)
      handlers.problem("unknown_cohort", `the coordinator has no cohort ${cohort}`);
    handlers.sessionChanged(true, "");
    let reason = "closed by the coordinator";
    try {
      void this.wake();
      void this.report(true);
      for await (const message of session.messages) {
        if (message.kind === "drain") {
          reason = "the coordinator asked for it";
          return message.reconnectAfterMs * (1 + this.#deps.random());
        }
        await this.#apply(message, session);
      }
      return 0;
    } catch (error) {
      reason = (error as Error).message;
      return 0;
    } finally {
      this.#forget();
      session.close();
      handlers.sessionChanged(false, reason);
    }
  }

  async #apply(message: FromCoordinator, session: Session): Promise<void> {
    const { handlers } = this.#deps;
    switch (message.kind) {
      case "planChanged":
        return handlers.planChanged(message);
      case "globalModel":
        return handlers.globalModel(message);
      case "feedback": {
        const acknowledgement = await handlers.feedback(message);
        return session.send({ kind: "feedbackAcknowledgement", acknowledgement });
      }
      case "updateResult":
        return this.#answered(message);
      case "reportResult":
        return this.#reported(message.reportId);
      case "sendReport":
        return this.report(true);
      case "unusable":
        return handlers.problem("bad_message", message.what);
    }
  }

  #answered({ updateId, status, reason, retryAfterMs }: Extract<FromCoordinator, { kind: "updateResult" }>): void {
    this.#inFlight.delete(updateId);
    if (status === "retry") {
      this.#retryAfter(retryAfterMs);
      return;
    }
    if (status === "refused") this.#deps.handlers.problem("update_refused", `${updateId}: ${reason}`);
    this.#deps.store.learning.removeUpdate(updateId);
    void this.wake();
  }

  /** The whole outbox waits, so that updates stay in order. */
  #retryAfter(ms: number): void {
    if (this.#retryTimer !== null) clearTimeout(this.#retryTimer);
    this.#retryTimer = setTimeout(() => {
      this.#retryTimer = null;
      void this.wake();
    }, ms);
  }

  #reported(reportId: string): void {
    if (this.#unanswered?.reportId !== reportId) return;
    this.#deps.store.alerts.markReported(this.#unanswered.episodes);
    this.#unanswered = null;
    if (!this.#reportWanted) return;
    this.#reportWanted = false;
    void this.report();
  }

  #nextUpdate(): { readonly session: Session; readonly update: Update } | null {
    const session = this.#session;
    if (session === null || this.#retryTimer !== null || this.#inFlight.size >= MAX_IN_FLIGHT) return null;
    const { learning } = this.#deps.store;
    const next = learning.queuedUpdates(MAX_IN_FLIGHT).find((id) => !this.#inFlight.has(id));
    const update = next === undefined ? null : learning.update(next);
    return update === null ? null : { session, update };
  }

  #forget(): void {
    this.#session = null;
    this.#inFlight.clear();
    this.#unanswered = null;
    this.#reportWanted = false;
    if (this.#retryTimer !== null) clearTimeout(this.#retryTimer);
    this.#retryTimer = null;
  }
}
