// Who may begin a session: so many in all, so many new ones a second, and of one gateway no storm of them.
import { fullBucket, isFull, type TokenBucket, type TokenRate, takeToken } from "../../core/token-bucket.ts";

export interface AdmissionLimits {
  readonly maxSessions: number;
  readonly newSessionsPerSecond: number;
}

/** The gateway is to come back after `retryAfterMs`. */
export class NotAdmittedError extends Error {
  readonly retryAfterMs: number;
  constructor(why: string, retryAfterMs: number) {
    super(`${why}; come back in ${Math.ceil(retryAfterMs)} ms`);
    this.name = "NotAdmittedError";
    this.retryAfterMs = retryAfterMs;
  }
}

/** A gateway that comes and goes may do so twenty times in a row, and then every second. */
const OF_A_GATEWAY: TokenRate = { burst: 20, perSecond: 1 };
const FULL_HOUSE_RETRY_MS = 10_000;
const FORGET_ABOVE_GATEWAYS = 1_000;

/** `#gateways` holds who came lately, no more than were admitted while a bucket fills. */
export class Admission {
  readonly #limits: AdmissionLimits;
  readonly #rate: TokenRate;
  readonly #nowMs: () => number;
  readonly #random: () => number;
  #all: TokenBucket;
  readonly #gateways = new Map<string, TokenBucket>();
  #forgetAbove = FORGET_ABOVE_GATEWAYS;
  #open = 0;

  constructor(limits: AdmissionLimits, nowMs: () => number, random: () => number) {
    this.#limits = limits;
    // A coordinator that starts anew meets its whole fleet: two seconds' worth may come at once.
    this.#rate = { burst: 2 * limits.newSessionsPerSecond, perSecond: limits.newSessionsPerSecond };
    this.#nowMs = nowMs;
    this.#random = random;
    this.#all = fullBucket(this.#rate, nowMs());
  }

  /** A stream was opened, by whom is not known yet; `leave` is to be called when it is over. Throws NotAdmittedError. */
  enter(): void {
    const { maxSessions } = this.#limits;
    if (this.#open >= maxSessions) {
      throw new NotAdmittedError(`${maxSessions} sessions are open`, this.#jittered(FULL_HOUSE_RETRY_MS));
    }
    this.#open++;
  }

  leave(): void {
    this.#open--;
  }

  /** It said who it is. Throws NotAdmittedError. */
  greet(gatewayId: string): void {
    const now = this.#nowMs();
    const its = this.#gateways.get(gatewayId) ?? fullBucket(OF_A_GATEWAY, now);
    const [left, itsWaitMs] = takeToken(its, OF_A_GATEWAY, now);
    if (itsWaitMs > 0) {
      throw new NotAdmittedError(`gateway ${gatewayId} begins sessions too often`, this.#jittered(itsWaitMs));
    }
    const [all, waitMs] = takeToken(this.#all, this.#rate, now);
    if (waitMs > 0) {
      const { newSessionsPerSecond } = this.#limits;
      throw new NotAdmittedError(`more than ${newSessionsPerSecond} new sessions a second`, this.#jittered(1000));
    }
    this.#all = all;
    this.#gateways.set(gatewayId, left);
    if (this.#gateways.size > this.#forgetAbove) this.#forget(now);
  }

  #forget(now: number): void {
    for (const [gatewayId, bucket] of this.#gateways) {
      if (isFull(bucket, OF_A_GATEWAY, now)) this.#gateways.delete(gatewayId);
    }
    this.#forgetAbove = Math.max(FORGET_ABOVE_GATEWAYS, 2 * this.#gateways.size);
  }

  /** Those that were refused together don't come back together. */
  #jittered(ms: number): number {
    return ms * (1 + this.#random());
  }
}
