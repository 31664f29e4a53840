// What an examination of the gateway found: one thing, how it is, and what to do where it is not well.

export interface Finding {
  readonly check: "disk" | "database" | "plan" | "broker" | "certificates" | "coordinator" | "clock";
  readonly verdict: "ok" | "warn" | "fail";
  readonly detail: string;
  /** What to do; null: nothing. */
  readonly advice: string | null;
}

type Check = Finding["check"];

export const ok = (check: Check, detail: string): Finding => ({ check, verdict: "ok", detail, advice: null });
export const warn = (check: Check, detail: string, advice: string): Finding => ({
  check,
  verdict: "warn",
  detail,
  advice,
});
export const fail = (check: Check, detail: string, advice: string): Finding => ({
  check,
  verdict: "fail",
  detail,
  advice,
});

const DAY_MS = 86_400_000;
const EXPIRES_SOON_DAYS = 30;

/** Of a certificate, as of now. `whose`: as in "broker default's". */
export function expiry(whose: string, validToMs: number, nowMs: number): Finding {
  const days = Math.floor((validToMs - nowMs) / DAY_MS);
  const until = `${whose} certificate is valid until ${new Date(validToMs).toISOString().slice(0, 10)}`;
  if (days < 0) return fail("certificates", until, "it has expired: have it renewed");
  if (days < EXPIRES_SOON_DAYS) return warn("certificates", `${until}, ${days} days`, "have it renewed in time");
  return ok("certificates", until);
}

/** A clock that was never set shows a time before this. */
const BUILT_MS = Date.UTC(2026, 0, 1);
const SET_BACK_MS = 60_000;

export interface ClockFacts {
  readonly nowMs: number;
  /** Whether a time service has set it; null: the machine does not say. */
  readonly synchronized: boolean | null;
  /** When the newest of the agent's files was written; null: there are none. */
  readonly lastWrittenMs: number | null;
}

export function clockFinding({ nowMs, synchronized, lastWrittenMs }: ClockFacts): Finding {
  const now = new Date(nowMs).toISOString();
  const advice = "let a time service set it (timedatectl set-ntp true)";
  if (nowMs < BUILT_MS) return fail("clock", `it says ${now}, which is before this agent was made`, advice);
  if (lastWrittenMs !== null && lastWrittenMs > nowMs + SET_BACK_MS)
    return warn("clock", `it says ${now}, but the agent wrote at ${new Date(lastWrittenMs).toISOString()}`, advice);
  if (synchronized === false) return warn("clock", `it says ${now}; no time service has set it`, advice);
  return ok(
    "clock",
    synchronized === null ? `it says ${now}; who set it is not known` : `${now}, set by a time service`,
  );
}

const LOW_BYTES = 64 * 1024 * 1024;
const FULL_BYTES = 1024 * 1024;

export function roomFinding(freeBytes: number, folder: string): Finding {
  const free = `${Math.floor(freeBytes / 1024 ** 2)} MiB free in ${folder}`;
  const advice = "make room on its disk; summaries, then updates are dropped first, alerts last";
  if (freeBytes < FULL_BYTES) return fail("disk", free, advice);
  return freeBytes < LOW_BYTES ? warn("disk", free, advice) : ok("disk", `${free}, writable`);
}
