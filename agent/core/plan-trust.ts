// Whose plans a gateway uses: those signed by a key its operator named, or by the one it met first.

export interface TrustedKeys {
  /** By the operator; when there is one, no other key counts. */
  readonly named: readonly string[];
  /** Of the last plan that was used. */
  readonly kept: string | null;
}

/** Null: a plan signed by `key` may be used; else why not, and what to do if it should be. `key` null: it is not signed. */
export function distrust(key: string | null, { named, kept }: TrustedKeys): string | null {
  const trusted = named.length > 0 ? named : kept === null ? null : [kept];
  if (trusted === null || (key !== null && trusted.includes(key))) return null;
  const origin = named.length > 0 ? "named by FLEAD_PLAN_KEY" : "of its first plan";
  if (key === null) return `it is not signed, and this gateway trusts ${trusted.join(", ")} (${origin})`;
  const advice = `if the coordinator's key was changed on purpose, start the agent with FLEAD_PLAN_KEY=${key}`;
  return `it is signed by ${key}, and this gateway trusts ${trusted.join(", ")} (${origin}); ${advice}`;
}
