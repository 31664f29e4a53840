// Ground truth that a message says: 1 for an anomaly, 0 for normal.
import { labelOf, show } from "../../../learning/telemetry/message.ts";
import { type Refusal, refusal } from "../../../learning/telemetry/refusal.ts";
import { type Path, valueAt } from "./path.ts";
import type { LabelSettings } from "./settings.ts";
import { type Context, singlePath } from "./text-source.ts";

interface LabelReader {
  readonly path: Path;
  /** Null: nothing is said. */
  read(context: Pick<Context, "top" | "here">): 0 | 1 | null | Refusal;
}

/** Throws MappingError. */
export function compileLabel({ path: text, map }: LabelSettings, at: readonly (string | number)[]): LabelReader {
  const path = singlePath(text, [...at, "path"]);
  return {
    path,
    read: ({ top, here }) => {
      const given = valueAt(path, top, here);
      if (given === undefined || given === null) return null;
      const word = typeof given === "object" ? "" : String(given).trim();
      const label = map === undefined ? labelOf(given) : Object.hasOwn(map, word) ? (map[word] ?? null) : null;
      const allowed = map === undefined ? "0, 1, false and true" : Object.keys(map).join(", ");
      return label ?? refusal("bad_label", `label ${show(given)}; allowed is one of ${allowed}`);
    },
  };
}
