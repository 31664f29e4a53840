// A folder of labelled CSV files, <folder>/<cohort>/<stream>.csv, is a convenience: its files are put into the database.
import { readdir, readFile, stat } from "node:fs/promises";
import { join } from "node:path";
import { type CohortId, deviceId } from "../../learning/ids.ts";
import type { Logger } from "../../runtime/log.ts";
import type { HeldOutLimits } from "../core/held-out.ts";
import { FleetUnavailableError } from "../ports/fleet-queries.ts";
import type { HeldOutStreams, ImportOutcome } from "../ports/held-out-streams.ts";

interface FolderDeps {
  readonly streams: Pick<HeldOutStreams, "importFile">;
  readonly limits: HeldOutLimits;
  readonly log: Logger;
}

/** Each file is frozen; one that is not wholly usable is left out and logged. Rejects only when the database is away. */
export async function importFolder(deps: FolderDeps, folder: string, cohort: CohortId): Promise<void> {
  const { log } = deps;
  const from = join(folder, cohort);
  const refused: { file: string; why: string }[] = [];
  const outcomes: Record<ImportOutcome, string[]> = { frozen: [], known: [], replaced: [], retired: [] };
  const names = await readdir(from).catch((error: NodeJS.ErrnoException) => {
    if (error.code !== "ENOENT") throw error;
    refused.push({ file: from, why: "there is no such folder" });
    return [];
  });
  for (const file of names.filter((name) => name.toLowerCase().endsWith(".csv")).sort()) {
    try {
      outcomes[await importFile(deps, cohort, join(from, file), file.replace(/\.csv$/i, ""))].push(file);
    } catch (error) {
      if (error instanceof FleetUnavailableError) throw error;
      refused.push({ file: join(from, file), why: (error as Error).message });
    }
  }
  if (refused.length > 0) log.warn({ cohort, refused }, "held-out streams that are left out");
  log.info({ cohort, ...outcomes }, "held-out streams of the folder");
}

async function importFile(
  { streams, limits }: FolderDeps,
  cohort: CohortId,
  file: string,
  name: string,
): Promise<ImportOutcome> {
  const { size } = await stat(file);
  if (size > limits.bytesAStream) throw new Error(`${size} bytes; allowed are ${limits.bytesAStream}`);
  return streams.importFile(cohort, deviceId(name), await readFile(file));
}
