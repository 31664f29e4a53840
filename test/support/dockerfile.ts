// Reads what a test needs of a Dockerfile: its stages with their instructions in order.
import { readFileSync } from "node:fs";

export interface Stage {
  readonly from: string;
  readonly instructions: readonly { readonly name: string; readonly value: string }[];
}

export interface Copy {
  /** A stage's name; null: the build context. */
  readonly from: string | null;
  readonly sources: readonly string[];
  readonly target: string;
}

export function readDockerfile(file: string): Stage[] {
  const lines = readFileSync(file, "utf8").replaceAll(/\\\n/g, " ").split("\n");
  const stages: { from: string; instructions: { name: string; value: string }[] }[] = [];
  for (const line of lines) {
    const [, name, value] = /^([A-Z]+)\s+(.*)$/.exec(line) ?? [];
    if (name === undefined || value === undefined) continue;
    if (name === "FROM") stages.push({ from: value, instructions: [] });
    else stages.at(-1)?.instructions.push({ name, value });
  }
  return stages;
}

export function copies(stage: Stage): Copy[] {
  return stage.instructions
    .filter(({ name }) => name === "COPY")
    .map(({ value }) => {
      const [, from = null, rest] = /^(?:--from=(\S+)\s+)?(.*)$/.exec(value) ?? [];
      const paths = (rest ?? "").split(/\s+/);
      return { from, sources: paths.slice(0, -1), target: paths.at(-1) ?? "" };
    });
}

/** The words of CMD, in its JSON form. */
export function command(stage: Stage): string[] {
  const cmd = stage.instructions.findLast(({ name }) => name === "CMD");
  return cmd ? (JSON.parse(cmd.value) as string[]) : [];
}
