// What the agents trained against what the coordinator counted: every update in one place, once, with what it held.
import { deserialize } from "node:v8";
import Database from "better-sqlite3";
import type pg from "pg";
import { expect } from "vitest";
import type { Update } from "../../agent/ports/coordinator-link.ts";
import { applyDelta, weightedMean } from "../../learning/aggregation/fedavg.ts";
import type { BufferedRoundSettings } from "../../learning/plan.ts";

/**
 * From here on the agent's file itself keeps every update that ever enters the outbox, in the transaction that puts it
 * there: no moment at which the agent is killed can hide one.
 */
export function journalOutbox(file: string): void {
  const database = new Database(file);
  database.exec(`
    CREATE TABLE journal (sequence INTEGER PRIMARY KEY, body BLOB NOT NULL);
    CREATE TRIGGER journal_outbox AFTER INSERT ON outbox WHEN NEW.kind = 'update'
    BEGIN INSERT INTO journal (body) VALUES (NEW.body); END`);
  database.close();
}

export interface AgentBooks {
  readonly trained: readonly Update[];
  /** Ids that wait for an answer, oldest first. */
  readonly waiting: readonly string[];
  readonly updatesTrained: number;
  readonly samplesTrained: number;
  readonly dropped: number;
}

export function readAgent(file: string): AgentBooks {
  const database = new Database(file, { readonly: true, timeout: 5_000 });
  try {
    return database.transaction(() => {
      const counter = (name: string) =>
        database.prepare<[string], { value: number }>("SELECT value FROM counters WHERE name = ?").get(name)?.value ??
        0;
      return {
        trained: database
          .prepare<[], { body: Buffer }>("SELECT body FROM journal ORDER BY sequence")
          .all()
          .map(({ body }) => deserialize(body) as Update),
        waiting: database
          .prepare<[], { key: string }>("SELECT key FROM outbox WHERE kind = 'update' ORDER BY sequence")
          .all()
          .map(({ key }) => key),
        updatesTrained: counter("updates_trained"),
        samplesTrained: counter("samples_trained"),
        dropped: counter("dropped_update"),
      };
    })();
  } finally {
    database.close();
  }
}

interface StoredUpdate {
  readonly update_id: string;
  readonly gateway_id: string;
  readonly model_version: number;
  readonly global_version: number;
  readonly samples_processed: number;
  readonly status: string;
  readonly delta: Buffer | null;
  readonly round_id: number | null;
  readonly weight: number | null;
}
interface StoredRound {
  readonly round_id: number;
  readonly base_version: number;
  readonly global_version: number;
  readonly verdict: string;
  readonly updates: number;
  readonly gateways: number;
  readonly samples: number;
}
interface StoredModel {
  readonly global_version: number;
  readonly aggregation_round: number | null;
  readonly parent_version: number | null;
  readonly total_samples: number;
  readonly status: string;
  readonly weights: Buffer;
}

export interface CoordinatorBooks {
  readonly updates: readonly StoredUpdate[];
  readonly rounds: readonly StoredRound[];
  readonly models: readonly StoredModel[];
  readonly championVersion: number;
  readonly lastVersion: number;
  /** Rows of the evaluation of each version. */
  readonly evaluated: ReadonlyMap<number, number>;
}

/** One snapshot of the database. */
export async function readCoordinator(client: pg.Client): Promise<CoordinatorBooks> {
  await client.query("BEGIN ISOLATION LEVEL REPEATABLE READ READ ONLY");
  try {
    const rows = async <Row>(query: string) => (await client.query(query)).rows as Row[];
    const updates = await rows<StoredUpdate>("SELECT * FROM local_models ORDER BY id");
    const rounds = await rows<StoredRound>("SELECT * FROM rounds ORDER BY global_version");
    const models = await rows<StoredModel>("SELECT * FROM federated_models ORDER BY global_version");
    const cohorts = await rows<{ champion_version: number; last_version: number }>(
      "SELECT * FROM cohorts JOIN cohort_plans USING (cohort) WHERE state = 'active'",
    );
    const evaluated = await rows<{ global_version: number; rows: number }>(
      "SELECT global_version, count(*) AS rows FROM model_evaluations GROUP BY global_version",
    );
    return {
      updates,
      rounds,
      models,
      championVersion: cohorts[0]?.champion_version ?? 0,
      lastVersion: cohorts[0]?.last_version ?? 0,
      evaluated: new Map(evaluated.map((row) => [row.global_version, row.rows])),
    };
  } finally {
    await client.query("ROLLBACK");
  }
}

export interface Books {
  readonly agents: Readonly<Record<string, AgentBooks>>;
  readonly coordinator: CoordinatorBooks;
  /** What each gateway last said of itself, as GET /api/v1/gateways tells it. */
  readonly said: Readonly<Record<string, { readonly updatesTrained: number; readonly samplesTrained: number }>>;
}

const isOpen = ({ status }: StoredUpdate) => status === "accepted";
const isCounted = ({ status }: StoredUpdate) => status === "aggregated";
const total = (values: readonly number[]) => values.reduce((sum, value) => sum + value, 0);
const samples = (updates: readonly StoredUpdate[]) => total(updates.map(({ samples_processed }) => samples_processed));

/** Nothing waits for an answer or for a round that is due, and every gateway has reported what it holds. */
export function isSettled(
  { agents, coordinator, said }: Books,
  { updates, minGateways }: BufferedRoundSettings,
): boolean {
  const open = coordinator.updates.filter(isOpen);
  const isDue = open.length >= updates && new Set(open.map(({ gateway_id }) => gateway_id)).size >= minGateways;
  const isAnswered = ([gateway, { waiting, samplesTrained }]: [string, AgentBooks]) =>
    waiting.length === 0 && said[gateway]?.samplesTrained === samplesTrained;
  return !isDue && Object.entries(agents).every(isAnswered);
}

export function expectEveryUpdateOnce({ agents, coordinator, said }: Books): void {
  const trained = Object.entries(agents).flatMap(([gateway, { trained: mine }]) =>
    mine.map((update) => ({ gateway, update })),
  );
  const stored = new Map(coordinator.updates.map((row) => [row.update_id, row]));
  const waiting = new Set(Object.values(agents).flatMap((agent) => agent.waiting));
  const lost = trained.filter(({ update }) => !stored.has(update.updateId) && !waiting.has(update.updateId));
  expect(lost, "neither stored nor waiting").toEqual([]);
  const arrived = [...stored.keys()].sort();
  expect(arrived, "update ids").toEqual(trained.map(({ update }) => update.updateId as string).sort());
  for (const { gateway, update } of trained) {
    const row = stored.get(update.updateId);
    expect(row).toMatchObject({
      gateway_id: gateway,
      model_version: update.localSteps,
      global_version: update.baseVersion,
      samples_processed: update.samples,
    });
    if (row && isOpen(row)) expect(floats(row.delta)).toEqual(floats(update.delta));
  }
  const books = Object.values(agents);
  expect(total(books.map(({ updatesTrained }) => updatesTrained))).toBe(arrived.length);
  expect(total(books.map(({ dropped }) => dropped))).toBe(0);
  const counted = samples(coordinator.updates.filter((row) => isOpen(row) || isCounted(row)));
  expect(counted, "samples").toBe(total(books.map(({ samplesTrained }) => samplesTrained)));
  expect(counted, "samples").toBe(total(Object.values(said).map(({ samplesTrained }) => samplesTrained)));
}

/** Every update is open or in one round, and a round's model is its parent plus what the agents trained, each once. */
export function expectRoundsToAddUp({ agents, coordinator }: Books): void {
  const deltas = new Map(
    Object.values(agents).flatMap(({ trained }) =>
      trained.map(({ updateId, delta }) => [updateId as string, floats(delta)]),
    ),
  );
  const { updates, rounds, models } = coordinator;
  const champions = models.filter(({ status }) => status === "champion").map(({ global_version }) => global_version);
  expect(updates.filter((row) => isOpen(row) === (row.round_id === null)).length).toBe(updates.length);
  expect(total(rounds.map((round) => round.updates))).toBe(updates.filter(isCounted).length);
  expect(models.map(({ global_version }) => global_version)).toEqual(
    rounds.map((_, index) => index + 1).concat(rounds.length + 1),
  );
  expect(coordinator.lastVersion).toBe(models.length);
  expect(coordinator.championVersion).toBe(champions.at(-1));
  expect(new Set(coordinator.evaluated.values()).size, "every candidate is evaluated on the same rows").toBe(1);
  expect([...coordinator.evaluated.keys()].sort((a, b) => a - b)).toEqual(rounds.map((round) => round.global_version));

  for (const round of rounds) {
    const members = updates.filter(({ round_id }) => round_id === round.round_id);
    expect(round).toMatchObject({
      base_version: champions.findLast((version) => version < round.global_version),
      updates: members.length,
      gateways: new Set(members.map(({ gateway_id }) => gateway_id)).size,
      samples: samples(members),
    });
    const model = models[round.global_version - 1];
    expect(model).toMatchObject({
      aggregation_round: round.round_id,
      parent_version: round.base_version,
      total_samples: round.samples,
      status: round.verdict === "promoted" ? "champion" : "rejected",
    });
    const parent = models[round.base_version - 1];
    const pulls = [...Map.groupBy(members, ({ gateway_id }) => gateway_id).values()].map((mine) => ({
      delta: mine.map(({ update_id }) => deltas.get(update_id) ?? new Float32Array()).reduce(applyDelta),
      weight: total(mine.map(({ weight }) => weight ?? 0)),
    }));
    const moved = applyDelta(
      floats(parent?.weights),
      weightedMean(
        pulls.map(({ delta }) => delta),
        pulls.map(({ weight }) => weight),
      ),
    );
    const off = moved.map((weight, index) => Math.abs(weight - (floats(model?.weights)[index] ?? Number.NaN)));
    expect(Math.max(...off)).toBeLessThan(1e-5);
  }
}

/** Weights, and deltas of a plan whose codec is float32. */
function floats(bytes: Uint8Array | null | undefined): Float32Array {
  return new Float32Array(Uint8Array.from(bytes ?? []).buffer);
}
