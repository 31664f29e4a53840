// Tables that the benchmarks print, and the targets under them.

/** Lines of equally many cells, the heading first, as a Markdown table with its columns lined up. */
export function aligned([heading = [], ...body]: readonly (readonly string[])[]): string {
  const widths = heading.map((text, column) =>
    Math.max(text.length, ...body.map((cells) => cells[column]?.length ?? 0)),
  );
  const line = (texts: readonly string[]) => `| ${texts.map((text, i) => text.padEnd(widths[i] ?? 0)).join(" | ")} |`;
  return [line(heading), `|${widths.map((width) => "-".repeat(width + 2)).join("|")}|`, ...body.map(line)].join("\n");
}

export interface Target {
  readonly what: string;
  readonly wanted: string;
  /** Null: not measured. */
  readonly measured: string | null;
  readonly met: boolean | null;
}

export function target(
  what: string,
  wanted: string,
  value: number | null | undefined,
  isMet: (value: number) => boolean,
  shown: (value: number) => string,
): Target {
  if (value === null || value === undefined) return { what, wanted, measured: null, met: null };
  return { what, wanted, measured: shown(value), met: isMet(value) };
}

export function targetTable(targets: readonly Target[]): string {
  const lines = targets.map(({ what, wanted, measured, met }) => [
    what,
    wanted,
    measured ?? "not measured",
    met === null ? "–" : met ? "met" : "not met",
  ]);
  return aligned([["target", "wanted", "measured", ""], ...lines]);
}
