// The archive of older weights in PostgreSQL: a narrow table, so that what is at hand stays small.
import { createHash } from "node:crypto";
import { promisify } from "node:util";
import { deflate, inflate } from "node:zlib";
import { type Kysely, sql } from "kysely";
import { versionsToArchive } from "../core/model-archive.ts";
import { ModelError } from "../ports/model-actions.ts";
import type { ModelArchive } from "../ports/model-archive.ts";
import type { Tables } from "./tables.ts";

const compress = promisify(deflate);
const decompress = promisify(inflate);
/** Of one run: a database that an earlier version filled takes several. */
const MAX_ARCHIVED_A_RUN = 1000;
/** No plan has more bytes of weights than a bundle can hold; an archive that says otherwise is damaged. */
const MAX_WEIGHT_BYTES = 64 * 1024 * 1024;

export class ArchiveDamagedError extends ModelError {
  constructor(cohort: string, version: number) {
    super(`the archived weights of cohort ${cohort}, version ${version}, are damaged: their SHA-256 is another`);
    this.name = "ArchiveDamagedError";
  }
}

export function postgresModelArchive(db: Kysely<Tables>): ModelArchive {
  return {
    archiveOlder: async (newest, signal) => {
      let archived = 0;
      for (const { cohort, version } of await toArchive(db, newest)) {
        if (signal.aborted) break;
        await archive(db, cohort, version);
        archived++;
      }
      return archived;
    },
  };
}

/** The weights of a version, wherever they are; null: they were dropped. Throws ArchiveDamagedError. */
export async function weightsOf(db: Kysely<Tables>, cohort: string, version: number): Promise<Buffer | null> {
  const row = await db
    .selectFrom("federated_models as m")
    .leftJoin("model_archive as a", (join) =>
      join.onRef("a.cohort", "=", "m.cohort").onRef("a.global_version", "=", "m.global_version"),
    )
    .select(["m.weights", "a.weights as archived", "a.sha256"])
    .where("m.cohort", "=", cohort)
    .where("m.global_version", "=", version)
    .executeTakeFirst();
  if (row === undefined || row.weights !== null || row.archived === null) return row?.weights ?? null;
  const weights = await decompress(row.archived, { maxOutputLength: MAX_WEIGHT_BYTES }).catch(() => null);
  if (weights === null || sha256(weights) !== row.sha256) throw new ArchiveDamagedError(cohort, version);
  return weights;
}

const sha256 = (bytes: Buffer) => createHash("sha256").update(bytes).digest("hex");

async function toArchive(db: Kysely<Tables>, newest: number): Promise<{ cohort: string; version: number }[]> {
  const cohorts = await db
    .selectFrom("cohorts as c")
    .select(["c.cohort", "c.last_version"])
    .select(
      sql<number[]>`ARRAY(SELECT p.champion_version::float8 FROM cohort_plans p WHERE p.cohort = c.cohort)`.as(
        "champions",
      ),
    )
    .select(
      sql<number[]>`ARRAY(SELECT DISTINCT u.global_version::float8 FROM local_models u
      WHERE u.cohort = c.cohort AND u.status IN ('accepted', 'clipped'))`.as("bases"),
    )
    .select(
      sql<number[]>`ARRAY(SELECT m.global_version::float8 FROM federated_models m
      WHERE m.cohort = c.cohort AND m.weights IS NOT NULL ORDER BY m.global_version)`.as("at_hand"),
    )
    .execute();
  const found = cohorts.flatMap(({ cohort, champions, last_version, bases, at_hand }) =>
    versionsToArchive(at_hand, {
      newest,
      lastVersion: last_version,
      champions: new Set(champions),
      bases: new Set(bases),
    }).map((version) => ({ cohort, version })),
  );
  return found.slice(0, MAX_ARCHIVED_A_RUN);
}

/** Moves the weights, or changes nothing when they are no longer at hand. An older version is never champion again. */
async function archive(db: Kysely<Tables>, cohort: string, version: number): Promise<void> {
  await db.transaction().execute(async (trx) => {
    const model = trx
      .selectFrom("federated_models")
      .select("weights")
      .where("cohort", "=", cohort)
      .where("global_version", "=", version)
      .where("weights", "is not", null);
    const weights = (await model.forUpdate().executeTakeFirst())?.weights ?? null;
    if (weights === null) return;
    await trx
      .insertInto("model_archive")
      .values({ cohort, global_version: version, weights: await compress(weights), sha256: sha256(weights) })
      .execute();
    await trx
      .updateTable("federated_models")
      .set({ weights: null })
      .where("cohort", "=", cohort)
      .where("global_version", "=", version)
      .execute();
  });
}
