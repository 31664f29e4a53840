// The made cohorts of the benchmark, as plan files.
import { writeFile } from "node:fs/promises";
import { join } from "node:path";

export const ENCODINGS = ["int8", "float16", "float32"] as const;
export type Encoding = (typeof ENCODINGS)[number];

/** Width of the hidden layer behind 24 features: 1,249 and 25,014 parameters. */
export const WIDTHS = { small: 25, large: 510 } as const;
export type Size = keyof typeof WIDTHS;

/** Few rounds, and plain means: what the rows measure is updates. */
export const LONG_ROUNDS = {
  round: { updates: 1000, deadlineMs: 60_000, minGateways: 2, maxStaleness: 1000 },
  rule: { kind: "fedavg" },
} as const;

/** What a plan file gets that says nothing of it: rounds of 20 updates, Multi-Krum. */
export const DEFAULT_ROUNDS = {};

export interface MadeCohort {
  readonly cohort: string;
  readonly size: Size;
  readonly encoding: Encoding;
  readonly federation: object;
}

const CHANNELS = ["a", "b", "c", "d", "e", "f", "g", "h"];

/** Resolves to the file's path. */
export async function writeCohort(folder: string, { cohort, size, encoding, federation }: MadeCohort): Promise<string> {
  const plan = {
    channels: CHANNELS.map((name) => ({ name, unit: "" })),
    model: { kind: "dense_autoencoder", hidden: [WIDTHS[size]] },
    training: { codec: { kind: encoding } },
  };
  const file = join(folder, `${cohort}.yaml`);
  await writeFile(file, JSON.stringify({ cohort, plan, federation })); // JSON is YAML
  return file;
}
