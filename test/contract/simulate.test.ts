import { execFile } from "node:child_process";
import { mkdirSync, readFileSync } from "node:fs";
import { join } from "node:path";
import pg from "pg";
import { expect, onTestFinished, test } from "vitest";
import { type SimulatedFleet, startFleet } from "../../cli/simulate/fleet.ts";
import type { Reading } from "../../cli/simulate/meter.ts";
import { acknowledged, oneAfterTheOther } from "../../cli/simulate/readings.ts";
import type { SimulationSettings } from "../../cli/simulate/settings.ts";
import { UpdateStatus } from "../../proto/gen/flead/v1/federation.ts";
import { packageRoot } from "../../runtime/package-root.ts";
import { eventually } from "../support/eventually.ts";
import { freePort } from "../support/mosquitto.ts";
import { Life } from "../support/process-fleet.ts";
import { globalModel, planChanged, ScriptedCoordinator, testPlan } from "../support/scripted-coordinator.ts";
import { smallSettings } from "../support/small-plan.ts";
import { temporaryFolder } from "../support/temp.ts";

const root = temporaryFolder("simulate");
const COHORT = "simulated";

const settingsOf = (port: number, change: Partial<SimulationSettings> = {}): SimulationSettings => ({
  coordinators: [{ host: "127.0.0.1", port }],
  cohort: COHORT,
  gateways: 2,
  firstGateway: 1,
  processes: 1,
  inFlight: 2,
  reportEveryMs: 0,
  seed: 1,
  ...change,
});

interface Ended {
  readonly code: number;
  readonly out: string;
  readonly error: string;
}

function flead(...args: string[]): Promise<Ended> {
  return new Promise((resolve) =>
    execFile(process.execPath, [join(packageRoot, "dist/cli/flead.js"), ...args], (error, out, stderr) =>
      resolve({ code: error === null ? 0 : Number(error.code), out, error: stderr }),
    ),
  );
}

/** A coordinator at ports that stay the same when it is started again. */
async function openHome(name: string) {
  const folder = join(root, name);
  mkdirSync(folder, { mode: 0o711 });
  const [grpc, http] = [await freePort(), await freePort()];
  const start = () => {
    const life = new Life(
      "coordinator",
      {
        FLEAD_PLANS: join(packageRoot, "plans/simulated.yaml"),
        FLEAD_DATA_DIR: folder,
        FLEAD_GRPC_ADDRESS: `127.0.0.1:${grpc}`,
        FLEAD_HTTP_ADDRESS: `127.0.0.1:${http}`,
        DATABASE_URL: "",
      },
      join(folder, "coordinator.log"),
    );
    onTestFinished(async () => {
      await life.stop();
    });
    return life;
  };
  return { grpc, url: `http://127.0.0.1:${http}`, folder, start };
}

async function stored(folder: string): Promise<{ updates: number; samples: number; gateways: number }> {
  const client = new pg.Client({ host: join(folder, "postgres/socket"), user: "flead", database: "postgres" });
  await client.connect();
  try {
    const { rows } = await client.query(
      `SELECT count(*)::int AS updates, coalesce(sum(samples_processed), 0)::int AS samples,
              count(DISTINCT gateway_id)::int AS gateways FROM local_models WHERE status <> 'refused'`,
    );
    return rows[0];
  } finally {
    await client.end();
  }
}

/** Reads until the sum of all readings since its start satisfies `wanted`. */
class Books {
  readonly #fleet: SimulatedFleet;
  whole: Reading;

  constructor(fleet: SimulatedFleet, start: Reading) {
    this.#fleet = fleet;
    this.whole = start;
  }

  until(what: string, wanted: (whole: Reading) => boolean): Promise<true> {
    return eventually(what, async () => {
      this.whole = oneAfterTheOther(this.whole, await this.#fleet.read());
      return wanted(this.whole) || undefined;
    });
  }

  async settle(): Promise<Reading> {
    this.whole = oneAfterTheOther(this.whole, await this.#fleet.settle(60_000));
    return this.whole;
  }
}

async function openFleet(settings: SimulationSettings): Promise<{ fleet: SimulatedFleet; books: Books }> {
  const fleet = await startFleet(settings);
  onTestFinished(() => fleet.close());
  const start = await fleet.connected(60_000);
  expect(start.ready).toBe(settings.gateways);
  return { fleet, books: new Books(fleet, start) };
}

test("the command's counts are the database's, row for row and sample for sample", async () => {
  const home = await openHome("command");
  await home.start().ready;
  const json = join(home.folder, "figures.json");
  const { code, out } = await flead(
    ...[
      "simulate",
      "--gateways",
      "2",
      "--rate",
      "max",
      "--in-flight",
      "3",
      "--duration",
      "2",
      "--processes",
      "2",
      "--json",
      json,
    ],
    ...["--coordinator", `127.0.0.1:${home.grpc}`, "--url", home.url],
  );
  expect(code).toBe(0);
  const figures = JSON.parse(readFileSync(json, "utf8"));
  const { updates, samples, gateways } = await stored(home.folder);
  expect(updates).toBeGreaterThan(20);
  expect(figures).toMatchObject({ acknowledged: updates, unanswered: 0, connected: 2 });
  expect(figures.counts).toMatchObject({ samplesAcknowledged: samples, refused: 0, plansFetched: 2 });
  expect(gateways).toBe(2);
  expect(figures.plan).toMatchObject({ parameters: 1249, encoding: "int8" });
  expect(figures.bytesSentAnUpdate).toBeGreaterThan(figures.plan.updateBytes);
  expect(figures.champions.at(-1)).toMatchObject({ sessions: 2, afterCloseMs: { last: expect.any(Number) } });
  expect(figures.counts.feedback).toBeGreaterThan(0);
  expect(out).toContain("1,249 parameters as int8");
});

test("sessions come back after a coordinator that drained and one that was killed, and nothing is lost or stored twice", async () => {
  const home = await openHome("restart");
  const first = home.start();
  await first.ready;
  const { fleet, books } = await openFleet(settingsOf(home.grpc, { gateways: 4, processes: 2, reportEveryMs: 500 }));
  await fleet.load({ updatesPerSecond: 100 });
  await books.until("updates are acknowledged", (whole) => acknowledged(whole) >= 30);

  await first.stop();
  const second = home.start();
  await books.until("all are back after a drain", ({ counts, ready }) => counts.sessionsOpened >= 8 && ready === 4);
  expect(books.whole.counts.drains).toBe(4);
  const before = acknowledged(books.whole);
  await books.until("updates are acknowledged again", (whole) => acknowledged(whole) > before + 30);

  await second.ready;
  second.kill();
  await second.ended;
  await home.start().ready;
  await books.until("all are back after a kill", ({ counts, ready }) => counts.sessionsOpened >= 12 && ready === 4);

  const { counts, unanswered } = await books.settle();
  expect(unanswered).toBe(0);
  expect(counts.sessionsLost).toBe(8);
  expect(counts.reportsAnswered).toBeGreaterThan(12);
  expect(await stored(home.folder)).toEqual({
    updates: acknowledged(books.whole),
    samples: counts.samplesAcknowledged,
    gateways: 4,
  });
});

test("an update that is to be sent again waits as long as it was told, and goes with the same id", async () => {
  const coordinator = await ScriptedCoordinator.start();
  onTestFinished(() => coordinator.close());
  const plan = testPlan(smallSettings());
  coordinator.hold(plan);
  let answers = 0;
  coordinator.answerTo = () =>
    answers++ === 0 ? { status: UpdateStatus.RETRY, retryAfterMs: 300 } : { status: UpdateStatus.ACCEPTED };
  coordinator.greeting = [planChanged(COHORT, plan), globalModel(COHORT, plan)];
  const { fleet, books } = await openFleet(settingsOf(coordinator.port, { gateways: 1, inFlight: 1 }));
  await fleet.burst(1);
  await books.until("it is acknowledged", (whole) => acknowledged(whole) === 1);
  const [sent, again] = coordinator.updates;
  expect(again?.updateId).toBe(sent?.updateId);
  expect(books.whole.counts).toMatchObject({ toldToRetry: 1, updatesSent: 2, updatesSentAgain: 1, updatesMade: 1 });
});

test("a full outbox holds the next update back, and it is counted", async () => {
  const coordinator = await ScriptedCoordinator.start();
  onTestFinished(() => coordinator.close());
  const plan = testPlan(smallSettings());
  coordinator.hold(plan);
  coordinator.answerTo = () => null;
  coordinator.greeting = [planChanged(COHORT, plan), globalModel(COHORT, plan)];
  const { fleet, books } = await openFleet(settingsOf(coordinator.port, { gateways: 1, inFlight: 2 }));
  await fleet.burst(5);
  await books.until("two are on their way", ({ unanswered }) => unanswered === 2);
  expect(books.whole.counts).toMatchObject({ updatesMade: 2, updatesHeldBack: 3 });
  await eventually("both have arrived", () => coordinator.updates.length === 2 || undefined);
});

test.each([
  [["--coordinator", "coordinator.example:7443"], "--allow-remote"],
  [["--cohort", "pumps"], 'must begin with "simulated"'],
  [["--rate", "max", "--updates-per-minute", "3"], "cannot be used with"],
  [["--in-flight", "33"], "from 1 to 32"],
  [["--coordinator", "nowhere"], "host:port"],
])("simulate %s is refused before anything is sent", async (args, why) => {
  const { code, error } = await flead("simulate", ...args);
  expect(code).toBe(2);
  expect(error).toContain(why);
});

test("a process that may not open as many files as it has sessions is not started", async () => {
  const tooMany = settingsOf(1, { gateways: 10_000_000 });
  await expect(startFleet(tooMany)).rejects.toThrow(/ulimit -n/);
});
