// Episodes, messages that wait for the broker, and retained topics to be emptied, in SQLite.
import { deserialize, serialize } from "node:v8";
import type Database from "better-sqlite3";
import type { OutgoingMessage } from "../core/alert.ts";
import type { Episode } from "../core/episode.ts";
import type { AlertStore, QueuedMessage, UnreportedEpisode } from "../ports/agent-store.ts";
import type { Outbox } from "./sqlite-outbox.ts";
import type { Room } from "./sqlite-room.ts";

/** Cleared episodes beyond this many go, the oldest first. */
const KEPT_EPISODES = 1000;

export class SqliteAlerts implements AlertStore {
  readonly #database: Database.Database;
  readonly #messages: Outbox<OutgoingMessage>;
  readonly #room: Room;

  constructor(database: Database.Database, messages: Outbox<OutgoingMessage>, room: Room) {
    this.#database = database;
    this.#room = room;
    this.#messages = messages;
  }

  saveEpisode(episode: Episode): void {
    this.#room.write("alerts", () => {
      this.#run(
        `INSERT INTO episodes (alert_id, state, body) VALUES (?, ?, ?)
         ON CONFLICT (alert_id) DO UPDATE SET state = excluded.state, body = excluded.body, revision = revision + 1`,
        [episode.alertId, episode.state, serialize(episode)],
      );
      this.#run(
        `DELETE FROM episodes WHERE state = 'cleared' AND sequence <=
           (SELECT sequence FROM episodes WHERE state = 'cleared' ORDER BY sequence DESC LIMIT 1 OFFSET ?)`,
        [KEPT_EPISODES],
      );
    });
  }

  episodes(): Episode[] {
    const rows = this.#database.prepare<[], { body: Buffer }>("SELECT body FROM episodes ORDER BY sequence").all();
    return rows.map(({ body }) => readEpisode(body));
  }

  episode(alertId: string): Episode | null {
    const row = this.#database
      .prepare<[string], { body: Buffer }>("SELECT body FROM episodes WHERE alert_id = ?")
      .get(alertId);
    return row === undefined ? null : readEpisode(row.body);
  }

  activeEpisodes(): number {
    const sql = "SELECT count(*) AS count FROM episodes WHERE state = 'active'";
    return this.#database.prepare<[], { count: number }>(sql).get()?.count ?? 0;
  }

  unreported(limit: number): UnreportedEpisode[] {
    const rows = this.#database
      .prepare<[number], { body: Buffer; revision: number }>(
        "SELECT body, revision FROM episodes WHERE revision > reported_revision ORDER BY sequence LIMIT ?",
      )
      .all(limit);
    return rows.map(({ body, revision }) => ({ episode: readEpisode(body), revision }));
  }

  markReported(episodes: readonly UnreportedEpisode[]): void {
    this.#room.write("alerts", () => {
      for (const { episode, revision } of episodes) {
        this.#run("UPDATE episodes SET reported_revision = ? WHERE alert_id = ?", [revision, episode.alertId]);
      }
    });
  }

  addMessages(messages: readonly OutgoingMessage[]): void {
    this.#room.write("alerts", () => {
      for (const message of messages) this.#messages.add(message, null);
    });
  }

  queuedMessages(limit: number): QueuedMessage[] {
    return this.#messages.oldest(limit).map(({ sequence, item }) => ({ sequence, message: item }));
  }

  removeMessage(sequence: number): void {
    this.#room.write("alerts", () => this.#messages.remove(sequence));
  }

  emptyAt(topic: string, atMs: number | null): void {
    this.#room.write("alerts", () => {
      if (atMs === null) this.#run("DELETE FROM retained WHERE topic = ?", [topic]);
      else this.#run("INSERT OR REPLACE INTO retained VALUES (?, ?)", [topic, atMs]);
    });
  }

  emptyDue(nowMs: number): void {
    this.#room.write("alerts", () => {
      const due = this.#database
        .prepare<[number], { topic: string }>("DELETE FROM retained WHERE empty_at <= ? RETURNING topic")
        .all(nowMs);
      this.addMessages(due.map(({ topic }) => ({ topic, payload: "", retain: true })));
    });
  }

  #run(sql: string, values: readonly (string | number | Buffer)[]): void {
    this.#database.prepare(sql).run(...values);
  }
}

/** An episode that was kept before operators could say something of it lacks what they need. */
function readEpisode(body: Buffer): Episode {
  const episode = deserialize(body) as Episode;
  return { ...{ ruleThreshold: null, lastOverAtMs: episode.updatedAtMs, ack: null }, ...episode };
}
