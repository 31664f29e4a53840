// Episodes, messages that wait for the broker, and retained topics to be emptied, in SQLite.
import { deserialize, serialize } from "node:v8";
import type Database from "better-sqlite3";
import { deviceId } from "../../learning/ids.ts";
import { CLEARED_STATE_MS, type OutgoingMessage } from "../core/alert.ts";
import { type Episode, isModelKind } from "../core/episode.ts";
import type { Storm } from "../core/storm.ts";
import type { AlertStore, QueuedMessage, Snooze, UnreportedEpisode } from "../ports/agent-store.ts";
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

  storm(): Storm | null {
    const row = this.#database.prepare<[], { body: Buffer }>("SELECT body FROM storm").get();
    return row === undefined ? null : (deserialize(row.body) as Storm);
  }

  saveStorm(storm: Storm | null): void {
    this.#room.write("alerts", () => {
      if (storm === null) this.#run("DELETE FROM storm", []);
      else this.#run("INSERT OR REPLACE INTO storm VALUES (1, ?)", [serialize(storm)]);
    });
  }

  snoozes(): Snooze[] {
    const sql = "SELECT device_id, kind, until_at FROM snoozes ORDER BY until_at";
    const rows = this.#database.prepare<[], { device_id: string; kind: string; until_at: number }>(sql).all();
    return rows.flatMap(({ device_id, kind, until_at: untilMs }) =>
      isModelKind(kind) ? [{ deviceId: deviceId(device_id), kind, untilMs }] : [],
    );
  }

  saveSnooze({ deviceId: device, kind, untilMs }: Snooze): void {
    const values = [device, kind, untilMs];
    this.#room.write("alerts", () => this.#run("INSERT OR REPLACE INTO snoozes VALUES (?, ?, ?)", values));
  }

  endSnooze({ deviceId: device, kind }: Pick<Snooze, "deviceId" | "kind">): void {
    const sql = "DELETE FROM snoozes WHERE device_id = ? AND kind = ?";
    this.#room.write("alerts", () => this.#run(sql, [device, kind]));
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
        .prepare<[number, number], { topic: string }>(
          "DELETE FROM retained WHERE empty_at <= ? OR empty_at > ? RETURNING topic",
        )
        .all(nowMs, nowMs + CLEARED_STATE_MS);
      this.addMessages(due.map(({ topic }) => ({ topic, payload: "", retain: true })));
    });
  }

  discovered(): string[] {
    const rows = this.#database.prepare<[], { topic: string }>("SELECT topic FROM discovered ORDER BY topic").all();
    return rows.map(({ topic }) => topic);
  }

  addDiscovered(topic: string): void {
    this.#room.write("alerts", () => this.#run("INSERT OR IGNORE INTO discovered VALUES (?)", [topic]));
  }

  removeDiscovered(topic: string): void {
    this.#room.write("alerts", () => this.#run("DELETE FROM discovered WHERE topic = ?", [topic]));
  }

  #run(sql: string, values: readonly (string | number | Buffer)[]): void {
    this.#database.prepare(sql).run(...values);
  }
}

/** An episode of an earlier version lacks what operators need to say something of it, what its row lacked, and storms. */
function readEpisode(body: Buffer): Episode {
  const episode = deserialize(body) as Episode;
  const lacking = { ruleThreshold: null, lastOverAtMs: episode.updatedAtMs, missing: [], ack: null };
  return { ...lacking, ...{ storm: null, announced: true }, ...episode };
}
