// Plans, model slots, devices and unanswered updates in SQLite.
import { deserialize, serialize } from "node:v8";
import type Database from "better-sqlite3";
import { type FleetStatistics, noFleet } from "../../learning/fleet.ts";
import { type CohortId, planId, type UpdateId } from "../../learning/ids.ts";
import { decodeBundle } from "../../proto/plan-bundle.ts";
import type { DeviceRecord } from "../core/device.ts";
import type { CohortRecord, LearningStore, Slot, Spares } from "../ports/agent-store.ts";
import type { Update } from "../ports/coordinator-link.ts";
import type { Plan } from "../ports/plan.ts";
import type { Counters } from "./sqlite-counters.ts";
import type { Outbox } from "./sqlite-outbox.ts";
import type { Room } from "./sqlite-room.ts";

interface CohortRow {
  readonly plan_id: string;
  readonly bundle: Buffer;
  readonly learning_rate_factor: number;
  readonly slot: Buffer | null;
  readonly fleet: Buffer | null;
  readonly candidate: Buffer | null;
  readonly previous: Buffer | null;
}

export interface SqliteLearningDeps {
  readonly database: Database.Database;
  readonly updates: Outbox<Update>;
  readonly counters: Counters;
  readonly room: Room;
}

export class SqliteLearning implements LearningStore {
  readonly #database: Database.Database;
  readonly #updates: Outbox<Update>;
  readonly #counters: Counters;
  readonly #room: Room;

  constructor({ database, updates, counters, room }: SqliteLearningDeps) {
    this.#database = database;
    this.#updates = updates;
    this.#counters = counters;
    this.#room = room;
  }

  cohort(cohort: CohortId): CohortRecord | null {
    const row = this.#database
      .prepare<[string], CohortRow>("SELECT * FROM cohorts JOIN plans USING (plan_id) WHERE cohort = ?")
      .get(cohort);
    const plan = row === undefined ? null : readPlan(row.plan_id, row.bundle);
    if (row === undefined || plan === null) return null;
    return {
      plan,
      learningRateFactor: row.learning_rate_factor,
      slot: row.slot && readSlot(row.slot, row.fleet),
      candidate: row.candidate && deserialize(row.candidate),
      previous: row.previous && deserialize(row.previous),
    };
  }

  startPlan(cohort: CohortId, plan: Plan): void {
    this.#room.write("learning", () => {
      this.#run("INSERT INTO plans VALUES (?, ?) ON CONFLICT (plan_id) DO UPDATE SET bundle = excluded.bundle", [
        plan.planId,
        Buffer.from(plan.bytes),
      ]);
      this.#run("INSERT OR REPLACE INTO cohorts (cohort, plan_id) VALUES (?, ?)", [cohort, plan.planId]);
      this.#run("DELETE FROM devices WHERE cohort = ?", [cohort]);
      this.forgetFeedback(cohort);
      this.#run("DELETE FROM plans WHERE plan_id NOT IN (SELECT plan_id FROM cohorts)", []);
    });
  }

  planKey(): string | null {
    return this.#database.prepare<[], { key: string }>("SELECT key FROM plan_key").get()?.key ?? null;
  }

  keepPlanKey(key: string): void {
    this.#write("INSERT OR REPLACE INTO plan_key VALUES (1, ?)", [key]);
  }

  saveSlot(cohort: CohortId, slot: Slot): void {
    const { fleet, ...weights } = slot;
    this.#write("UPDATE cohorts SET slot = ?, fleet = ? WHERE cohort = ?", [
      serialize(weights),
      serialize(fleet),
      cohort,
    ]);
  }

  saveSpares(cohort: CohortId, { candidate, previous }: Spares): void {
    const written = [candidate, previous].map((model) => model && serialize(model));
    this.#write("UPDATE cohorts SET candidate = ?, previous = ? WHERE cohort = ?", [...written, cohort]);
  }

  saveFactor(cohort: CohortId, factor: number): void {
    this.#write("UPDATE cohorts SET learning_rate_factor = ? WHERE cohort = ?", [factor, cohort]);
  }

  recordFeedback(cohort: CohortId, globalVersion: number, factor: number): boolean {
    return this.#room.write("learning", () => {
      const added = this.#run(
        `INSERT INTO feedback SELECT :cohort, :version, :factor
         WHERE NOT EXISTS (SELECT 1 FROM feedback WHERE cohort = :cohort AND global_version >= :version)`,
        [{ cohort, version: globalVersion, factor }],
      );
      if (added === 0) return false;
      this.#run("DELETE FROM feedback WHERE cohort = ? AND global_version < ?", [cohort, globalVersion]);
      this.saveFactor(cohort, factor);
      return true;
    });
  }

  forgetFeedback(cohort: CohortId): void {
    this.#write("DELETE FROM feedback WHERE cohort = ?", [cohort]);
  }

  devices(cohort: CohortId): DeviceRecord[] {
    const rows = this.#database
      .prepare<[string], { record: Buffer }>("SELECT record FROM devices WHERE cohort = ?")
      .all(cohort);
    return rows.flatMap(({ record }) => {
      try {
        return [deserialize(record) as DeviceRecord];
      } catch {
        return [];
      }
    });
  }

  saveDevices(cohort: CohortId, devices: readonly DeviceRecord[]): void {
    this.#room.write("learning", () => {
      for (const record of devices) {
        this.#run("INSERT OR REPLACE INTO devices VALUES (?, ?, ?)", [record.deviceId, cohort, serialize(record)]);
      }
    });
  }

  addUpdate(update: Update, supersedes: boolean): void {
    this.#room.write("updates", () => {
      const superseded = supersedes ? this.#updates.removeWhere(({ cohort }) => cohort === update.cohort) : 0;
      if (superseded > 0) this.#counters.add("superseded_update", superseded);
      this.#updates.add(update, update.updateId);
      this.#counters.add("updates_trained", 1);
      this.#counters.add("samples_trained", update.samples);
    });
  }

  queuedUpdates(limit: number): UpdateId[] {
    return this.#updates.oldestKeys(limit) as UpdateId[];
  }

  update(updateId: UpdateId): Update | null {
    return this.#updates.get(updateId);
  }

  removeUpdate(updateId: string): void {
    this.#room.write("updates", () => this.#updates.removeKey(updateId));
  }

  #write(sql: string, values: readonly (string | number | Buffer | null)[]): void {
    this.#room.write("learning", () => this.#run(sql, values));
  }

  #run(sql: string, values: readonly (string | number | Buffer | null | Record<string, string | number>)[]): number {
    return this.#database.prepare(sql).run(...values).changes;
  }
}

function readSlot(weights: Buffer, fleet: Buffer | null): Slot {
  const said = fleet === null ? noFleet : (deserialize(fleet) as FleetStatistics);
  // Earlier versions of the agent wrote slots without these.
  const unsaid = { trainWhenInvited: false, answeredRound: null, tuning: null };
  return { ...unsaid, ...(deserialize(weights) as Omit<Slot, "fleet">), fleet: said };
}

/** Null when the stored bytes are not the plan they should be. */
function readPlan(id: string, bytes: Buffer): Plan | null {
  try {
    const { manifest, scoreOnnx, trainOnnx } = decodeBundle(bytes, planId(id));
    return { planId: planId(id), bytes, manifest, scoreOnnx, trainOnnx };
  } catch {
    return null;
  }
}
