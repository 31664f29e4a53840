// Whether the agent does its work: readings come in, are judged, and what has to be kept can be kept. The coordinator is no part of it.

export interface Intake {
  readonly messages: number;
  readonly firstAtMs: number;
  readonly lastAtMs: number;
}

/** Times of one clock that only goes forward. */
export interface HealthFacts {
  /** Sensor messages since the start; null: none came yet. */
  readonly intake: Intake | null;
  /** Since when rows wait and none of them was judged; null: none wait. */
  readonly unjudgedSinceMs: number | null;
  /** The longest that the event loop let a timer wait lately. */
  readonly loopLagMs: number;
  /** What could not be written lately, as the store names it. */
  readonly unwritable: readonly string[];
}

export interface Ailment {
  readonly reason: "no_readings" | "rows_not_judged" | "loop_lag" | "store_not_writable";
  readonly detail: string;
}

const SILENCE_MS = 300_000;
/** A sensor that speaks rarely is silent only after as many of its usual pauses. */
const USUAL_PAUSES = 20;
const UNJUDGED_MS = 30_000;
const LOOP_LAG_MS = 5_000;

/** None: it is healthy. */
export function ailments(facts: HealthFacts, nowMs: number): Ailment[] {
  const { intake, unjudgedSinceMs, loopLagMs, unwritable } = facts;
  const found: Ailment[] = [];
  const say = (reason: Ailment["reason"], detail: string) => found.push({ reason, detail });
  if (intake !== null && nowMs - intake.lastAtMs > patienceMs(intake))
    say(
      "no_readings",
      `no sensor message for ${seconds(nowMs - intake.lastAtMs)} s; the broker or the sensors are away`,
    );
  if (unjudgedSinceMs !== null && nowMs - unjudgedSinceMs > UNJUDGED_MS)
    say("rows_not_judged", `rows wait and none was judged for ${seconds(nowMs - unjudgedSinceMs)} s`);
  if (loopLagMs > LOOP_LAG_MS) say("loop_lag", `the event loop stood still for ${seconds(loopLagMs)} s`);
  if (unwritable.length > 0)
    say("store_not_writable", `not written: ${unwritable.join(", ")}; flead agent doctor says why`);
  return found;
}

function patienceMs({ messages, firstAtMs, lastAtMs }: Intake): number {
  return messages < 2 ? SILENCE_MS : Math.max(SILENCE_MS, (USUAL_PAUSES * (lastAtMs - firstAtMs)) / (messages - 1));
}

const seconds = (ms: number) => Math.round(ms / 1000);
