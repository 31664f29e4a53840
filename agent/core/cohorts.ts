// Which cohort a device belongs to: the first rule whose pattern matches its id.
import { type CohortId, cohortId, type DeviceId } from "../../learning/ids.ts";

export interface CohortRule {
  readonly cohort: CohortId;
  /** `*` stands for any characters. */
  readonly pattern: string;
}

/** `pumps=pump-*;default=*`. Throws an Error that names the wrong rule. */
export function parseCohortRules(text: string): CohortRule[] {
  const rules = text.split(";").map((rule) => rule.trim());
  return rules.filter(Boolean).map((rule) => {
    const [cohort, pattern, more] = rule.split("=").map((part) => part.trim());
    if (!cohort || !pattern || more !== undefined || !/^[A-Za-z0-9_.*-]+$/.test(pattern)) {
      throw new Error(`${JSON.stringify(rule)} is not a rule such as pumps=pump-*`);
    }
    return { cohort: cohortId(cohort), pattern };
  });
}

/** First match wins; null: the device belongs to no cohort. */
export function cohortOf(device: DeviceId, rules: readonly CohortRule[]): CohortId | null {
  return rules.find(({ pattern }) => matches(device, pattern))?.cohort ?? null;
}

/** Leftmost match of each literal part, so that the time is bounded by the two lengths. */
function matches(text: string, pattern: string): boolean {
  const parts = pattern.split("*");
  const first = parts.shift() ?? "";
  const last = parts.pop();
  if (last === undefined) return text === first;
  if (text.length < first.length + last.length || !text.startsWith(first) || !text.endsWith(last)) return false;
  const end = text.length - last.length;
  let at = first.length;
  for (const part of parts) {
    const found = text.indexOf(part, at);
    if (found < 0 || found + part.length > end) return false;
    at = found + part.length;
  }
  return true;
}
