// The gateway's side of the session: what waits in the outbox goes up until it is answered, what comes down is applied.
import { type BackoffSettings, backoffMs, pause } from "../runtime/retry.ts";
import { isRecent } from "./core/recent.ts";
import type { LearningStore } from "./ports/agent-store.ts";
import type {
  CoordinatorLink,
  Feedback,
  FeedbackAcknowledgement,
  FromCoordinator,
  GlobalModel,
  Hello,
  Invitation,
  ModelCommand,
  Report,
  Session,
  Update,
} from "./ports/coordinator-link.ts";
import { guarded } from "./trouble.ts";

export const MAX_IN_FLIGHT = 32;
/** A report that was not answered by then is taken for lost, as is what the store could not do before it is tried again. */
const PATIENCE_MS = 30_000;
const RECONNECT: BackoffSettings = { firstMs: 1_000, maxMs: 30_000 };

export type UplinkProblem = "no_session" | "update_refused" | "bad_message" | "unknown_cohort";

export interface UplinkHandlers {
  readonly hello: () => Hello;
  /** Null: nothing to report. `answered` is called once the coordinator has it. */
  readonly report: (asked: boolean) => { readonly report: Report; readonly answered: () => void } | null;
  readonly planChanged: (message: Extract<FromCoordinator, { kind: "planChanged" }>) => void;
  readonly globalModel: (message: GlobalModel) => Promise<void>;
  readonly feedback: (message: Feedback) => Promise<FeedbackAcknowledgement>;
  readonly invitation: (message: Invitation) => void;
  /** The day's budget is spent; asked before each one. */
  readonly updatesWait: () => boolean;
  readonly modelCommand: (message: ModelCommand) => Promise<void>;
  readonly sessionChanged: (connected: boolean, detail: string) => void;
  readonly problem: (kind: UplinkProblem, what: string) => void;
  readonly storeFailed: (error: Error) => void;
}

/** The part of the gateway's store that the session works from. */
export interface UplinkStore {
  readonly learning: Pick<LearningStore, "queuedUpdates" | "update" | "removeUpdate">;
}

export interface UplinkDeps {
  readonly link: CoordinatorLink;
  readonly store: UplinkStore;
  readonly nowMs: () => number;
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
  #unanswered: {
    readonly reportId: string;
    readonly answered: () => void;
    readonly sentAtMs: number;
  } | null = null;
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

  /** `asked`: also when nothing changed. Never rejects. */
  async report(asked = false): Promise<void> {
    const session = this.#session;
    if (session === null) return;
    const atMs = this.#deps.nowMs();
    const lost = this.#unanswered !== null && !isRecent(this.#unanswered.sentAtMs, atMs, PATIENCE_MS);
    if (this.#unanswered !== null && !lost) {
      this.#reportWanted = true;
      return;
    }
    const next = this.#stored(() => this.#deps.handlers.report(asked || lost));
    if (next === null) return;
    this.#unanswered = { reportId: next.report.reportId, answered: next.answered, sentAtMs: atMs };
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
      case "feedback":
        void this.#acknowledge(message, session); // it may have to wait for a plan, and what follows must not
        return;
      case "invitation":
        return handlers.invitation(message);
      case "activateModel":
      case "rollBackModel":
        return handlers.modelCommand(message);
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

  async #acknowledge(feedback: Feedback, session: Session): Promise<void> {
    try {
      const acknowledgement = await this.#deps.handlers.feedback(feedback);
      await session.send({ kind: "feedbackAcknowledgement", acknowledgement }).catch(() => undefined);
    } catch (error) {
      this.#deps.handlers.storeFailed(error as Error);
    }
  }

  #answered({ updateId, status, reason, retryAfterMs }: Extract<FromCoordinator, { kind: "updateResult" }>): void {
    this.#inFlight.delete(updateId);
    if (status === "retry") {
      this.#retryAfter(retryAfterMs);
      return;
    }
    if (status === "refused") this.#deps.handlers.problem("update_refused", `${updateId}: ${reason}`);
    const removed = this.#stored(() => {
      this.#deps.store.learning.removeUpdate(updateId);
      return true;
    });
    if (removed) void this.wake();
    else this.#retryAfter(PATIENCE_MS);
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
    const { answered } = this.#unanswered;
    this.#unanswered = null;
    this.#stored(answered);
    if (!this.#reportWanted) return;
    this.#reportWanted = false;
    void this.report();
  }

  #nextUpdate(): { readonly session: Session; readonly update: Update } | null {
    const session = this.#session;
    if (session === null || this.#retryTimer !== null || this.#inFlight.size >= MAX_IN_FLIGHT) return null;
    const { learning } = this.#deps.store;
    const update = this.#stored(() => {
      if (this.#deps.handlers.updatesWait()) return null;
      const next = learning.queuedUpdates(MAX_IN_FLIGHT).find((id) => !this.#inFlight.has(id));
      return next === undefined ? null : learning.update(next);
    });
    return update === null ? null : { session, update };
  }

  #stored<Result>(work: () => Result): Result | null {
    return guarded(work, this.#deps.handlers.storeFailed);
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
