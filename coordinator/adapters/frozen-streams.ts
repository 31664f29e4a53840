// A cohort's frozen streams, read from the database when they are others than before.
import type { CohortId } from "../../learning/ids.ts";
import type { Manifest } from "../../learning/plan.ts";
import type { Logger } from "../../runtime/log.ts";
import type { HeldOutStream } from "../core/evaluate.ts";
import type { HeldOutStreams } from "../ports/held-out-streams.ts";
import { parseHeldOutCsv } from "./held-out-csv.ts";

/** Gives the same array as long as nothing changes. One that the plan can't be evaluated on is left out and logged. */
export function followFrozenStreams(
  streams: Pick<HeldOutStreams, "frozen" | "content">,
  cohort: CohortId,
  manifest: Manifest,
  log: Logger,
): () => Promise<readonly HeldOutStream[]> {
  let standing: string | null = null;
  let known: readonly HeldOutStream[] = [];
  return async () => {
    const frozen = await streams.frozen(cohort);
    const now = JSON.stringify(frozen);
    if (now === standing) return known;
    const refused: { stream: string; why: string }[] = [];
    const read: HeldOutStream[] = [];
    for (const revision of frozen) {
      const same = known.find(({ stream, sha256 }) => stream === revision.stream && sha256 === revision.sha256);
      const csv = same === undefined ? await streams.content(cohort, revision) : null;
      try {
        if (same !== undefined) read.push(same);
        else if (csv !== null) read.push(parseHeldOutCsv(revision.stream, csv, manifest));
      } catch (error) {
        refused.push({ stream: revision.stream, why: (error as Error).message });
      }
    }
    if (refused.length > 0) log.warn({ cohort, refused }, "held-out streams that are left out");
    const rows = read.reduce((sum, stream) => sum + stream.rows.length, 0);
    log.info({ cohort, streams: read.length, rows }, "held-out streams");
    standing = now;
    known = read;
    return known;
  };
}
