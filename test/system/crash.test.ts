import { mkdirSync } from "node:fs";
import { join } from "node:path";
import { setTimeout as after } from "node:timers/promises";
import pg from "pg";
import { expect, type TestContext, test } from "vitest";
import { PLANT_CHANNELS } from "../../cli/demo/plant.ts";
import type { BufferedRoundSettings, CohortSettings } from "../../learning/plan.ts";
import { seededRandom } from "../../learning/random.ts";
import { eventually } from "../support/eventually.ts";
import {
  type Books,
  expectEveryUpdateOnce,
  expectRoundsToAddUp,
  isSettled,
  journalOutbox,
  readAgent,
  readCoordinator,
} from "../support/fleet-ledger.ts";
import { plantStream, writeCsv } from "../support/held-out.ts";
import { featuresOf, JUDGING, TRAINING } from "../support/plan-settings.ts";
import { GATEWAYS, type Life, ProcessFleet, STRETCH_ROWS } from "../support/process-fleet.ts";
import { temporaryFolder } from "../support/temp.ts";

const ROUND: BufferedRoundSettings = {
  mode: "buffered",
  updates: 6,
  intervalMs: 0,
  deadlineMs: 3_600_000,
  minGateways: 2,
  maxStaleness: 1000,
};

const SETTINGS: CohortSettings = {
  cohort: "pumps",
  plan: {
    channels: PLANT_CHANNELS,
    commissioningRows: STRETCH_ROWS,
    ...JUDGING,
    features: featuresOf({ kind: "window", rows: 1 }),
    model: { kind: "dense_autoencoder", hidden: [16, 3, 16] },
    training: { ...TRAINING, batchRows: 20, triggerRows: 20, triggerMs: 3_600_000 },
    threshold: { rule: { kind: "quantile", quantile: 0.9999 }, rows: STRETCH_ROWS },
  },
  federation: {
    round: ROUND,
    samples: { rowsPerSecond: 2_000, burstMs: 86_400_000 },
    rule: { kind: "fedavg" },
    optimiser: { kind: "none" },
    gate: { margin: 0.05 },
    live: [],
    drift: { drop: 0.1, windows: 3, rows: 2_000, action: "event" },
  },
};

/** A gateway that met many failures stays away for 30 s before it connects again. */
const SETTLE_TIMEOUT_MS = 120_000;

/** FLEAD_CRASH_SEED repeats the kills of a failed run, as far as two runs meet the same moments. */
const seed = Number(process.env.FLEAD_CRASH_SEED ?? Date.now() % 1_000_000);

const root = temporaryFolder("crash");

class Crashes {
  readonly #random;
  readonly #done: string[] = [`seed ${seed}`];

  constructor(stream: number, { onTestFailed }: TestContext) {
    this.#random = seededRandom(seed + stream);
    onTestFailed(() => {
      process.stderr.write(`${this.#done.join("\n")}\n`);
    });
  }

  upTo(most: number): number {
    return 1 + Math.floor(this.#random.next() * most);
  }

  /** Kills and waits until the process is no more. */
  async kill(life: Life, why: string): Promise<void> {
    this.#done.push(`killed ${why}`);
    expect(life.kill(), `it is alive when it is killed ${why}`).toBe(true);
    await life.ended;
  }
}

async function openFleet(name: string, { onTestFinished }: TestContext): Promise<ProcessFleet> {
  const folder = join(root, name);
  mkdirSync(folder);
  writeCsv(join(folder, "held-out", SETTINGS.cohort), plantStream(9, 800, 450));
  const fleet = await ProcessFleet.open(folder, SETTINGS);
  onTestFinished(() => fleet.close());
  return fleet;
}

/** Both agents, with nothing learned yet and a journal of what they will. */
async function startAgents(fleet: ProcessFleet): Promise<Map<string, Life>> {
  const agents = GATEWAYS.map((gateway) => [gateway, fleet.startAgent(gateway)] as const);
  for (const [gateway, life] of agents) {
    await life.ready;
    journalOutbox(fleet.agentFile(gateway));
  }
  return new Map(agents);
}

/** Tells of every committed update and round at the moment of its commit. */
class Commits {
  readonly client: pg.Client;
  #waiting: { what: string; count: number; resolve: () => void }[] = [];

  private constructor(client: pg.Client) {
    this.client = client;
    client.on("notification", ({ channel, payload }) => {
      for (const wait of this.#waiting)
        if ((wait.what === channel || wait.what === payload) && --wait.count === 0) wait.resolve();
    });
    client.on("error", () => undefined); // a coordinator that stops takes the server with it
  }

  static async watch(fleet: ProcessFleet, { onTestFinished }: TestContext): Promise<Commits> {
    const client = new pg.Client({
      host: join(fleet.dataDir, "postgres", "socket"),
      user: "flead",
      database: "postgres",
      types: {
        getTypeParser: (oid, format) => (oid === pg.types.builtins.INT8 ? Number : pg.types.getTypeParser(oid, format)),
      },
    });
    await client.connect();
    onTestFinished(() => client.end());
    await client.query(`
      CREATE OR REPLACE FUNCTION tell_update() RETURNS trigger LANGUAGE plpgsql
        AS 'BEGIN PERFORM pg_notify(''update'', NEW.gateway_id); RETURN NULL; END';
      CREATE OR REPLACE FUNCTION tell_round() RETURNS trigger LANGUAGE plpgsql
        AS 'BEGIN PERFORM pg_notify(''round'', ''''); RETURN NULL; END';
      CREATE OR REPLACE TRIGGER tell_update AFTER INSERT ON local_models FOR EACH ROW
        WHEN (NEW.status = 'accepted') EXECUTE FUNCTION tell_update(); -- a counted update moves to another partition
      CREATE OR REPLACE TRIGGER tell_round AFTER INSERT ON rounds FOR EACH ROW EXECUTE FUNCTION tell_round();
      LISTEN update; LISTEN round`);
    return new Commits(client);
  }

  /** Resolves at the `count`-th commit from now: of any update, of a round, or of an update of that gateway. */
  nth(count: number, what: "update" | "round" | (typeof GATEWAYS)[number]): Promise<void> {
    return new Promise((resolve) => this.#waiting.push({ what, count, resolve }));
  }
}

interface Gateways {
  readonly items: { gatewayId: string; health: { updatesTrained: number; samplesTrained: number } | null }[];
}

async function readBooks(fleet: ProcessFleet, client: pg.Client): Promise<Books> {
  // The agents first: what left an outbox before it was read is in the database when that is read after it.
  const agents = Object.fromEntries(GATEWAYS.map((gateway) => [gateway, readAgent(fleet.agentFile(gateway))]));
  const { items } = (await (await fetch(`${fleet.url}/api/v1/gateways`)).json()) as Gateways;
  return {
    agents,
    coordinator: await readCoordinator(client),
    said: Object.fromEntries(items.flatMap(({ gatewayId, health }) => (health ? [[gatewayId, health]] : []))),
  };
}

/** The books once nothing moves any more; as they are when that does not come, for the test to say what is wrong. */
async function settled(fleet: ProcessFleet, client: pg.Client): Promise<Books> {
  let books = await readBooks(fleet, client);
  await eventually(
    "every update is answered",
    async () => {
      books = await readBooks(fleet, client);
      return isSettled(books, ROUND) || undefined;
    },
    SETTLE_TIMEOUT_MS,
  ).catch(() => undefined);
  return books;
}

/** Ids in the gateway's outbox. */
const waiting = (fleet: ProcessFleet, gateway: string) => readAgent(fleet.agentFile(gateway)).waiting;

async function countStored(client: pg.Client, ids: readonly string[]): Promise<number> {
  return (await client.query("SELECT FROM local_models WHERE update_id = ANY($1)", [ids])).rowCount ?? 0;
}

test.concurrent("a coordinator killed at any moment, its database left behind, counts every update exactly once", async (context) => {
  const crashes = new Crashes(1, context);
  const fleet = await openFleet("coordinator", context);
  for (let kill = 0; kill < 2; kill++) {
    const life = fleet.startCoordinator();
    await after(crashes.upTo(1_500));
    await crashes.kill(life, "while it creates its database");
  }
  let coordinator = fleet.startCoordinator();
  await startAgents(fleet);
  await coordinator.ready;
  const commits = await Commits.watch(fleet, context);
  const stopPlant = fleet.startPlant();
  context.onTestFinished(stopPlant);

  let openWhenKilled = 0;
  const moments = ["mid-round", "start", "round", "update", "mid-round"] as const;
  for (const moment of moments) {
    if (moment === "start") await after(crashes.upTo(600));
    else if (moment === "mid-round") await commits.nth(1, "round").then(() => commits.nth(crashes.upTo(5), "update"));
    else await commits.nth(crashes.upTo(moment === "round" ? 2 : 40), moment);
    await crashes.kill(coordinator, moment);
    const open = await commits.client.query("SELECT FROM local_models WHERE status = 'accepted'");
    if ((open.rowCount ?? 0) > 0) openWhenKilled++;
    coordinator = fleet.startCoordinator();
  }
  await coordinator.ready;
  await commits.nth(1, "round");
  await stopPlant();
  const books = await settled(fleet, commits.client);
  expectEveryUpdateOnce(books);
  expectRoundsToAddUp(books);
  expect(isSettled(books, ROUND), "every update is answered, every due round closed").toBe(true);
  expect(openWhenKilled, "kills that found updates in the open round").toBeGreaterThan(0);
});

test.concurrent("an agent killed with a full outbox, and again while it sends it, sends every update once", async (context) => {
  const crashes = new Crashes(2, context);
  const fleet = await openFleet("agents", context);
  let coordinator = fleet.startCoordinator();
  const agents = await startAgents(fleet);
  await coordinator.ready;
  const before = await Commits.watch(fleet, context);
  const stopPlant = fleet.startPlant();
  context.onTestFinished(stopPlant);
  await before.nth(1, "round");
  await coordinator.stop();

  const outboxes = new Map<string, readonly string[]>();
  for (const [gateway, life] of agents) {
    await eventually(`${gateway} trains offline`, () => waiting(fleet, gateway).length >= 100 || undefined);
    await crashes.kill(life, `${gateway} with a full outbox`);
    outboxes.set(gateway, waiting(fleet, gateway));
    agents.set(gateway, fleet.startAgent(gateway));
  }
  for (const [gateway, kept] of outboxes)
    expect(waiting(fleet, gateway).slice(0, kept.length), "the outbox outlives its agent").toEqual(kept);
  coordinator = fleet.startCoordinator();
  await coordinator.ready;
  const commits = await Commits.watch(fleet, context);

  let storedAndSentAgain = 0;
  for (let kill = 0; kill < 8; kill++) {
    const gateway = GATEWAYS[kill % 2] as (typeof GATEWAYS)[number];
    await commits.nth(crashes.upTo(30), gateway);
    await crashes.kill(agents.get(gateway) as Life, `${gateway} while it sends`);
    storedAndSentAgain += await countStored(commits.client, waiting(fleet, gateway));
    agents.set(gateway, fleet.startAgent(gateway));
  }
  await stopPlant();
  const books = await settled(fleet, commits.client);
  expectEveryUpdateOnce(books);
  expectRoundsToAddUp(books);
  expect(isSettled(books, ROUND), "every update is answered, every due round closed").toBe(true);
  expect(storedAndSentAgain, "updates that were stored before a kill and sent again after it").toBeGreaterThan(0);
});
