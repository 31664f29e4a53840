// Paths into a decoded message: `a.b[0].c`, `["a key.with a dot"]`, `*` and `[*]` for each of what is there, `$.` from the top.

type Step = { readonly key: string } | { readonly index: number } | "each";

export interface Path {
  /** Leads from the top of the message also where another path led to an element of it. */
  readonly fromTop: boolean;
  readonly steps: readonly Step[];
}

/** Somewhere in a message, and the last key on the way that was not in the path but stood for `*`. */
export interface Found {
  readonly value: unknown;
  readonly key: string;
}

const MAX_STEPS = 16;
const STEP = /\.?(?:\[(\d{1,5})\]|\[(\*)\]|\["((?:[^"\\]|\\.)*)"\]|(\*)|([^.[\]"*\s$][^.[\]"]*))/y;

/** Throws RangeError saying what is allowed. An empty path, as `$`, is the thing itself. */
export function parsePath(text: string): Path {
  const fromTop = text === "$" || text.startsWith("$.") || text.startsWith("$[");
  const steps: Step[] = [];
  STEP.lastIndex = fromTop ? 1 : 0;
  const begin = STEP.lastIndex;
  for (let at = begin; at < text.length; at = STEP.lastIndex) {
    const dotted = text[at] === ".";
    const found = at === 0 && dotted ? null : STEP.exec(text);
    const bare = found?.[4] !== undefined || found?.[5] !== undefined;
    if (found === null || steps.length === MAX_STEPS || (bare && !dotted && at > 0))
      throw new RangeError(
        `path ${JSON.stringify(text.slice(0, 60))} is none: allowed are at most ${MAX_STEPS} steps as in a.b[0].c, ["a.b"], * and [*]`,
      );
    const [, index, each, quoted, star, key] = found;
    if (index !== undefined) steps.push({ index: Number(index) });
    else if (each !== undefined || star !== undefined) steps.push("each");
    else steps.push({ key: key ?? (JSON.parse(`"${quoted}"`) as string) });
  }
  return { fromTop, steps };
}

export const hasEach = ({ steps }: Path) => steps.includes("each");

/** The keys that a path names, from the outside in. */
export const keysOf = ({ steps }: Path): string[] =>
  steps.flatMap((step) => (step !== "each" && "key" in step ? [step.key] : []));

/** What is at a path without `*`; undefined: nothing. */
export function valueAt(path: Path, top: unknown, here: unknown): unknown {
  let value = path.fromTop ? top : here;
  for (const step of path.steps) value = follow(value, step);
  return value;
}

/** Everything that a path with `*` leads to, at most `limit` of it, in the message's order. */
export function allAt(path: Path, top: unknown, limit: number): Found[] {
  let found: Found[] = [{ value: top, key: "" }];
  for (const step of path.steps) {
    const next: Found[] = [];
    for (const { value, key } of found) {
      if (next.length >= limit) break;
      if (step !== "each") {
        const there = follow(value, step);
        if (there !== undefined) next.push({ value: there, key });
      } else if (Array.isArray(value)) {
        for (const element of value.slice(0, limit - next.length)) next.push({ value: element, key });
      } else if (typeof value === "object" && value !== null) {
        for (const [name, element] of Object.entries(value).slice(0, limit - next.length))
          next.push({ value: element, key: name });
      }
    }
    found = next;
  }
  return found;
}

function follow(value: unknown, step: Step): unknown {
  if (typeof value !== "object" || value === null || step === "each") return undefined;
  if ("index" in step) return Array.isArray(value) ? value[step.index] : undefined;
  return Object.hasOwn(value, step.key) ? (value as Record<string, unknown>)[step.key] : undefined;
}
