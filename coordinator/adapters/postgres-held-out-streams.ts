// Held-out streams in PostgreSQL: the CSV as it was given, compressed.
import { promisify } from "node:util";
import { gunzip, gzip } from "node:zlib";
import { type Kysely, type Selectable, type SqlBool, sql, type Transaction } from "kysely";
import type { CohortId, DeviceId } from "../../learning/ids.ts";
import type { Manifest } from "../../learning/plan.ts";
import type { HeldOutStream } from "../core/evaluate.ts";
import { type HeldOutLimits, refusalOfRoom } from "../core/held-out.ts";
import { HeldOutError, type HeldOutItem, type HeldOutStreams, type ImportOutcome } from "../ports/held-out-streams.ts";
import { parseHeldOutCsv } from "./held-out-csv.ts";
import { answered, page } from "./pages.ts";
import { postgresAuditLog } from "./postgres-audit.ts";
import type { Tables } from "./tables.ts";

const compress = promisify(gzip);
const decompress = promisify(gunzip);

export interface HeldOutSettings {
  readonly limits: HeldOutLimits;
  /** Of the plan that the cohort learns by. */
  readonly manifestOf: (cohort: CohortId) => Manifest | undefined;
}

const FOLDER = "coordinator (folder)";
const COLUMNS = ["cohort", "stream", "sha256", "state", "source", "rows", "anomalies", "bytes"] as const;
const TIMES = ["created_at", "frozen_at", "retired_at"] as const;

type Row = Omit<Selectable<Tables["held_out_streams"]>, "content" | "retired_by">;
type Source = Row["source"];

export function postgresHeldOutStreams(db: Kysely<Tables>, settings: HeldOutSettings): HeldOutStreams {
  const changing = <Result>(cohort: CohortId, name: DeviceId, change: (held: HeldStream) => Promise<Result>) =>
    answered(
      db.transaction().execute(async (trx) => {
        await sql`SELECT pg_advisory_xact_lock(hashtextextended(${`held-out/${cohort}`}, 0))`.execute(trx);
        return change(new HeldStream(trx, cohort, name));
      }),
    );
  return {
    upload: async (cohort, name, csv, actor) => {
      const { stream, content } = await checked(settings, cohort, name, csv);
      return changing(cohort, name, async (held) => {
        const current = await held.current();
        if (current?.sha256 === stream.sha256) return item(current);
        if (current?.state === "frozen") {
          throw new HeldOutError("refused", `${name} is frozen with other content: retire it first`);
        }
        if (current !== undefined) await held.forget(current);
        const draft = await held.put(stream, content, csv.byteLength, "upload", settings.limits);
        return held.audited(draft, "upload", actor);
      });
    },

    importFile: async (cohort, name, csv) => {
      const { stream, content } = await checked(settings, cohort, name, csv);
      return changing(cohort, name, async (held): Promise<ImportOutcome> => {
        const current = await held.current();
        if (current?.sha256 === stream.sha256 && current.state === "frozen") return "known";
        if (await held.wasRetiredByOperator(stream.sha256)) return "retired";
        if (current !== undefined && current.source !== "folder") {
          throw new HeldOutError(
            "refused",
            `${name} was uploaded with other content, or not frozen yet: that one stays`,
          );
        }
        if (current !== undefined) await held.audited(await held.retire(current, null), "replace", FOLDER);
        await held.put(stream, content, csv.byteLength, "folder", settings.limits);
        await held.audited(await held.freeze(stream), "freeze", FOLDER);
        return current === undefined ? "frozen" : "replaced";
      });
    },

    freeze: (cohort, name, actor) =>
      changing(cohort, name, async (held) => {
        const current = await held.known();
        return current.state === "frozen" ? item(current) : held.audited(await held.freeze(current), "freeze", actor);
      }),

    retire: (cohort, name, actor) =>
      changing(cohort, name, async (held) =>
        held.audited(await held.retire(await held.known(), actor), "retire", actor),
      ),

    one: async (cohort, name) => {
      const rows = revisions(db).where("cohort", "=", cohort).where("stream", "=", name);
      const row = await answered(
        rows
          .orderBy(sql`state = 'retired'`)
          .orderBy("retired_at", "desc")
          .orderBy("created_at", "desc")
          .executeTakeFirst(),
      );
      if (row === undefined) throw unknown(cohort, name);
      return item(row);
    },

    list: async ({ limit, after, cohort }) => {
      const rows = revisions(db)
        .where(cohort === null ? sql<SqlBool>`true` : sql<SqlBool>`cohort = ${cohort}`)
        .where(
          after === null
            ? sql<SqlBool>`true`
            : sql<SqlBool>`(cohort, stream, sha256) > (${after.cohort}, ${after.name}, ${after.sha256})`,
        )
        .orderBy("cohort")
        .orderBy("stream")
        .orderBy("sha256")
        .limit(limit + 1);
      return page(await answered(rows.execute()), limit, item, (row) => ({
        cohort: row.cohort,
        name: row.stream,
        sha256: row.sha256,
      }));
    },

    frozen: (cohort) =>
      answered(
        db
          .selectFrom("held_out_streams")
          .select(["stream", "sha256"])
          .where("cohort", "=", cohort)
          .where("state", "=", "frozen")
          .orderBy("stream")
          .execute(),
      ),

    content: async (cohort, { stream, sha256 }) => {
      const query = db
        .selectFrom("held_out_streams")
        .select("content")
        .where("cohort", "=", cohort)
        .where("stream", "=", stream)
        .where("sha256", "=", sha256);
      const content = (await answered(query.executeTakeFirst()))?.content ?? null;
      return content === null ? null : decompress(content);
    },
  };
}

const revisions = (db: Kysely<Tables>) => db.selectFrom("held_out_streams").select([...COLUMNS, ...TIMES]);
const unknown = (cohort: string, name: string) =>
  new HeldOutError("unknown", `cohort ${cohort} has no held-out stream ${name}`);

interface CheckedStream {
  readonly stream: HeldOutStream;
  readonly content: Buffer;
}

async function checked(
  { limits, manifestOf }: HeldOutSettings,
  cohort: CohortId,
  name: DeviceId,
  csv: Uint8Array,
): Promise<CheckedStream> {
  const manifest = manifestOf(cohort);
  if (manifest === undefined) throw new HeldOutError("unknown", `there is no cohort ${cohort}`);
  if (csv.byteLength > limits.bytesAStream) {
    throw new HeldOutError("too_large", `${csv.byteLength} bytes; allowed are ${limits.bytesAStream}`);
  }
  let stream: HeldOutStream;
  try {
    stream = parseHeldOutCsv(name, csv, manifest);
  } catch (error) {
    throw new HeldOutError("unusable", (error as Error).message);
  }
  return { stream, content: await compress(csv) };
}

/** One stream within a transaction that keeps others from changing the cohort's streams. */
class HeldStream {
  readonly #trx: Transaction<Tables>;
  readonly #cohort: CohortId;
  readonly #name: DeviceId;

  constructor(trx: Transaction<Tables>, cohort: CohortId, name: DeviceId) {
    this.#trx = trx;
    this.#cohort = cohort;
    this.#name = name;
  }

  get #rows() {
    return revisions(this.#trx).where("cohort", "=", this.#cohort);
  }

  current(): Promise<Row | undefined> {
    return this.#rows.where("stream", "=", this.#name).where("state", "<>", "retired").executeTakeFirst();
  }

  async known(): Promise<Row> {
    const current = await this.current();
    if (current === undefined) throw unknown(this.#cohort, this.#name);
    return current;
  }

  async wasRetiredByOperator(sha256: string): Promise<boolean> {
    const retired = this.#rows.where("stream", "=", this.#name).where("sha256", "=", sha256);
    return (await retired.where("retired_by", "is not", null).executeTakeFirst()) !== undefined;
  }

  /** Of a draft: no evaluation names it. */
  async forget({ sha256 }: Row): Promise<void> {
    await this.#trx
      .deleteFrom("held_out_streams")
      .where("cohort", "=", this.#cohort)
      .where("stream", "=", this.#name)
      .where("sha256", "=", sha256)
      .execute();
  }

  /** As a draft; content that was retired before is there again. */
  async put(
    stream: HeldOutStream,
    content: Buffer,
    bytes: number,
    source: Source,
    limits: HeldOutLimits,
  ): Promise<Row> {
    const others = await this.#trx
      .selectFrom("held_out_streams")
      .select(({ fn }) => fn.countAll<number>().as("streams"))
      .select(sql<number>`coalesce(sum(bytes), 0)::bigint`.as("bytes"))
      .where("cohort", "=", this.#cohort)
      .where("stream", "<>", this.#name)
      .where("state", "<>", "retired")
      .executeTakeFirstOrThrow();
    const why = refusalOfRoom(bytes, others, limits);
    if (why !== null) throw new HeldOutError("refused", why);
    const facts = {
      state: "draft" as const,
      source,
      content,
      bytes,
      rows: stream.rows.length,
      anomalies: stream.labels.reduce((sum, label) => sum + label, 0),
      frozen_at: null,
      retired_at: null,
      retired_by: null,
    };
    return this.#trx
      .insertInto("held_out_streams")
      .values({ cohort: this.#cohort, stream: this.#name, sha256: stream.sha256, ...facts })
      .onConflict((conflict) => conflict.columns(["cohort", "stream", "sha256"]).doUpdateSet(facts))
      .returning([...COLUMNS, ...TIMES])
      .executeTakeFirstOrThrow();
  }

  freeze(revision: Pick<Row, "sha256">): Promise<Row> {
    return this.#change(revision, { state: "frozen", frozen_at: sql<Date>`now()` });
  }

  retire(revision: Row, by: string | null): Promise<Row> {
    const gone = { state: "retired", content: null, retired_at: sql<Date>`now()`, retired_by: by } as const;
    return this.#change(revision, gone);
  }

  async audited(row: Row, verb: string, actor: string): Promise<HeldOutItem> {
    await postgresAuditLog(this.#trx).record({
      actor,
      action: `held_out.${verb}`,
      subject: `cohort/${row.cohort}/held-out/${row.stream}`,
      detail: { sha256: row.sha256, rows: row.rows, anomalies: row.anomalies, bytes: row.bytes },
    });
    return item(row);
  }

  #change({ sha256 }: Pick<Row, "sha256">, change: object): Promise<Row> {
    return this.#trx
      .updateTable("held_out_streams")
      .set(change)
      .where("cohort", "=", this.#cohort)
      .where("stream", "=", this.#name)
      .where("sha256", "=", sha256)
      .returning([...COLUMNS, ...TIMES])
      .executeTakeFirstOrThrow();
  }
}

const item = (row: Row): HeldOutItem => ({
  cohort: row.cohort,
  name: row.stream,
  sha256: row.sha256,
  state: row.state,
  source: row.source,
  rows: row.rows,
  anomalies: row.anomalies,
  bytes: row.bytes,
  createdAt: row.created_at.toISOString(),
  frozenAt: row.frozen_at?.toISOString() ?? null,
  retiredAt: row.retired_at?.toISOString() ?? null,
});
