// Which coordinator of a database leads: the one whose connection holds an advisory lock.
import { type Kysely, sql } from "kysely";
import type pg from "pg";
import type { Logger } from "../../runtime/log.ts";
import { pause, within } from "../../runtime/retry.ts";
import type { Database } from "./database.ts";
import type { Tables } from "./tables.ts";

const LEADER_LOCK = 4_021_984;
/** What the lock's connection is called, before the replica's id. */
const LEADER = "flead-leader ";
/** How often one that does not lead tries, and one that leads shows that it is there. */
const CAMPAIGN_MS = 1_000;
const RENEW_MS = 2_000;
/** The server ends a lock's session that showed nothing for so long: a leader that froze is one no more. */
const LEASE_MS = 10_000;
/** A leader whose server does not answer for so long steps down before its lease is over; one that waits connects anew. */
const ANSWER_MS = 5_000;

export interface Candidate {
  readonly database: Pick<Database, "connect">;
  /** Part of its connection's name, which is how others see who leads. */
  readonly replicaId: string;
  /** One term, until its signal aborts. */
  readonly lead: (signal: AbortSignal) => Promise<void>;
  readonly log: Logger;
}

/**
 * Runs `lead` whenever this process holds the lock, until `signal` aborts. Its own signal aborts when the lock is lost;
 * the lock is let go after `lead` has resolved. Two may lead for as long as a frozen one has not noticed: what a leader
 * writes is conditional on the cohort's revision. Never rejects.
 */
export async function campaign(candidate: Candidate, signal: AbortSignal): Promise<void> {
  const { log } = candidate;
  while (!signal.aborted) {
    try {
      await oneTerm(candidate, signal);
    } catch (error) {
      if (!signal.aborted) log.warn({ err: error }, "the connection that leads, or would, was lost");
    }
    await pause(CAMPAIGN_MS * (0.5 + Math.random()), signal);
  }
}

/** Waits for the lock, leads until it is lost or `signal` aborts. */
async function oneTerm({ database, replicaId, lead, log }: Candidate, signal: AbortSignal): Promise<void> {
  const client = await database.connect(LEADER + replicaId);
  const lost = new AbortController();
  const lose = (error?: Error) => lost.abort(error ?? new Error("the server closed the connection"));
  client.on("error", lose);
  client.on("end", () => lose());
  const over = AbortSignal.any([signal, lost.signal]);
  try {
    await within(ANSWER_MS, client.query(`SET idle_session_timeout = ${LEASE_MS}`));
    while (!over.aborted && !(await isTaken(client))) await pause(CAMPAIGN_MS * (0.5 + Math.random()), over);
    if (over.aborted) return;
    log.info("this coordinator leads: it runs the rounds");
    const renewing = renew(client, over, lose);
    await lead(over);
    if (!over.aborted) lose(new Error("its duties ended"));
    await renewing;
    log.info("this coordinator leads no longer");
  } finally {
    await client.end().catch(() => undefined);
  }
}

/** Null: nobody leads right now. */
export async function leadingReplica(db: Kysely<Tables>): Promise<string | null> {
  const { rows } = await sql<{ name: string }>`
    SELECT a.application_name AS name FROM pg_locks l JOIN pg_stat_activity a USING (pid)
    WHERE l.locktype = 'advisory' AND l.granted AND l.classid = 0 AND l.objid = ${LEADER_LOCK}
      AND l.database = (SELECT oid FROM pg_database WHERE datname = current_database())`.execute(db);
  return rows[0]?.name.slice(LEADER.length) ?? null;
}

async function isTaken(client: pg.Client): Promise<boolean> {
  const { rows } = await within(ANSWER_MS, client.query("SELECT pg_try_advisory_lock($1) AS taken", [LEADER_LOCK]));
  return rows[0].taken === true;
}

async function renew(client: pg.Client, over: AbortSignal, lose: (error: Error) => void): Promise<void> {
  while (!over.aborted) {
    await within(ANSWER_MS, client.query("SELECT 1")).catch(lose);
    await pause(RENEW_MS, over);
  }
}
