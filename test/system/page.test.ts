import { existsSync } from "node:fs";
import { mkdtemp, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { sql } from "kysely";
import { type Browser, chromium, type Page } from "playwright-core";
import { afterAll, beforeAll, describe, expect, test } from "vitest";
import { type Database, openDatabase } from "../../coordinator/adapters/database.ts";
import { postgresGatewayStore } from "../../coordinator/adapters/postgres-gateway-store.ts";
import { postgresLiveDrift } from "../../coordinator/adapters/postgres-live-drift.ts";
import { postgresLiveWindows } from "../../coordinator/adapters/postgres-live-windows.ts";
import { postgresModelActions } from "../../coordinator/adapters/postgres-model-actions.ts";
import type { Admin } from "../../coordinator/admin/server.ts";
import type { HeldCandidate } from "../../coordinator/ports/gateway-store.ts";
import { cohortId, deviceId, gatewayId } from "../../learning/ids.ts";
import { createLogger } from "../../runtime/log.ts";
import { adminOver } from "../support/admin.ts";
import { addCohort, addEpisode, addGateway, addOpenUpdate, addRound, scores } from "../support/fleet-rows.ts";

const CHROMIUM = "/usr/bin/chromium";
const ARGS = [
  "--headless",
  "--no-sandbox",
  "--disable-gpu",
  "--disable-quic",
  "--no-first-run",
  "--disable-background-networking",
  "--disable-component-update",
  "--disable-sync",
];
const MARKUP = `<img src=x onerror="document.body.dataset.broken=1">`;
const absent = !existsSync(CHROMIUM) && process.env.CI !== "true";
const log = createLogger("test", "silent");
const before = (ms: number) => new Date(Date.now() - ms);

describe.skipIf(absent)(`the page${absent ? ` (skipped: there is no ${CHROMIUM})` : ""}`, () => {
  let dataDir: string;
  let database: Database;
  let admin: Admin;
  let browser: Browser;

  beforeAll(async () => {
    dataDir = await mkdtemp(join(tmpdir(), "flead-page-"));
    database = await openDatabase({ dataDir, log });
    await addPumps(database);
    await addLiveStreams(database);
    await addCohort(database.kysely, "fans", 1);
    admin = await start();
    browser = await chromium.launch({ executablePath: CHROMIUM, args: ARGS });
  }, 120_000);

  afterAll(async () => {
    await browser?.close();
    await admin?.close();
    await database?.close();
    if (dataDir) await rm(dataDir, { recursive: true });
  });

  const start = (port = 0) => adminOver(database, { address: { host: "127.0.0.1", port }, version: "0.1.0" });

  interface Opened {
    page: Page;
    /** Console errors, uncaught exceptions and requests to another origin. */
    faults: string[];
    close(): Promise<void>;
  }

  async function open(path: string, options: { dark?: boolean; width?: number } = {}): Promise<Opened> {
    const { dark = false, width = 1360 } = options;
    const context = await browser.newContext({
      colorScheme: dark ? "dark" : "light",
      viewport: { width, height: 900 },
    });
    const page = await context.newPage();
    const faults: string[] = [];
    page.on("console", (message) => message.type() === "error" && faults.push(message.text()));
    page.on("pageerror", (error) => faults.push(String(error)));
    page.on("request", (request) => {
      const url = new URL(request.url());
      if (url.origin !== new URL(admin.url).origin && url.protocol !== "data:") faults.push(`asked ${request.url()}`);
    });
    await page.goto(admin.url + path);
    return { page, faults, close: () => context.close() };
  }

  const shown = async (page: Page, id: string) => (await page.locator(`#${id}`).textContent()) ?? "";

  test.each([
    ["light", "wide"],
    ["dark", "wide"],
    ["light", "narrow"],
    ["dark", "narrow"],
  ])(
    "shows the loop in %s and %s, without console errors and without asking any other origin",
    async (theme, width) => {
      const { page, faults, close } = await open("/#pumps", {
        dark: theme === "dark",
        width: width === "wide" ? 1360 : 390,
      });
      await page.locator("#rounds tbody tr").first().waitFor();
      await page.screenshot({ path: join(tmpdir(), `flead-page-${theme}-${width}.png`), fullPage: true });

      const summary = await shown(page, "summary");
      expect(summary).toMatch(/Champion\s*v8/);
      expect(summary).toMatch(/12 of 20 updates/);
      expect(summary).toContain("3 gateways, 2 needed");
      expect(summary).toMatch(/Learning-rate factor\s*×1\.10/);
      expect(summary).toMatch(/Gateways\s*3 of 4\s*connected/);
      expect(summary).toMatch(/Active episodes\s*2/);
      const rounds = await shown(page, "rounds");
      expect(rounds).toContain("promoted");
      expect(rounds).toContain("rejected");
      expect(rounds).toContain("held-out quality fell by 0.116, more than the margin of 0.05");
      const first = page.locator("#rounds tbody tr").filter({ has: page.getByRole("rowheader", { name: /^v1/ }) });
      expect(await first.textContent()).toContain("not evaluated");
      const newest = page.locator("#rounds tbody tr").first();
      expect(await newest.textContent()).toContain("0.700+0.030");
      const events = newest.getByTitle("episode precision 0.857, recall 0.833");
      expect(await events.textContent()).toBe("5 of 61 false episode, delay 12 s");
      const versions = page.locator("#models tbody tr");
      expect(await versions.first().textContent()).toMatch(/^v8after v7✓champion/);
      expect(await shown(page, "models")).toContain("✓was champion");
      expect(await shown(page, "models")).toContain("✕rejected");
      const gateways = await shown(page, "gateways");
      expect(gateways).toContain("not reported");
      expect(gateways).toContain("offline");
      expect(gateways).toContain("×0.64it pulled against the others (cosine -0.83)");
      expect(gateways.match(/●full/g)).toHaveLength(3);
      const streams = page.locator("#drift tbody tr");
      expect(await streams.first().textContent()).toMatch(/^ref-11 windows▼drifted0\.5000\.8002of 31 rows2 labels/);
      expect(await streams.nth(1).textContent()).toMatch(/^ref-20 windows○not evaluatedno window is stored/);
      const episodes = await shown(page, "episodes");
      expect(episodes).toContain("critical");
      expect(episodes).toMatch(/vibration_x 61 %/);
      expect(episodes).toContain("9.2 mm/s, expected 2.1–4");
      expect(await page.locator("#charts circle.promoted").count()).toBe(2 * 6);
      expect(await page.locator("#charts path.rejected").count()).toBe(2);
      expect(await page.locator("#charts path.unmeasured").count()).toBe(2);
      expect(await page.locator("#charts .baseline-label").allTextContents()).toContain("z-score 0.54");
      const overflow = await page.evaluate(
        "document.documentElement.scrollWidth - document.documentElement.clientWidth",
      );
      expect(overflow).toBe(0);
      expect(faults).toEqual([]);
      await close();
    },
    30_000,
  );

  test("markup in what a gateway says about itself and its devices stays text", async () => {
    const { page, faults, close } = await open("/#pumps");
    await page.locator("#gateways").getByText(MARKUP).first().waitFor();
    await page.locator("#episodes").getByText(MARKUP).first().waitFor();
    expect(await page.locator("main img").count()).toBe(0);
    expect(await page.evaluate("document.body.dataset.broken")).toBeUndefined();
    expect(faults).toEqual([]);
    await close();
  });

  test("a gateway that does not use the champion shows what waits there, and why", async () => {
    const gateways = postgresGatewayStore(database.kysely, { replicaId: "r", version: "t", alone: true });
    const held = { cohort: "fans", planId: "f", globalVersion: 2, devices: ["fan-1"], previousVersion: null };
    const trial = { rows: 200, ratio: 7.5, difference: null, labelledRows: 0, labelledDifference: null };
    const connect = (name: string, candidate: HeldCandidate) =>
      gateways.connected({
        gatewayId: gatewayId(name),
        site: "hall",
        agentVersion: "t",
        cohorts: [{ ...held, candidate }],
      });
    await connect("gw-worse", { globalVersion: 3, trial });
    await connect("gw-back", { globalVersion: 4, trial: null });
    const { page, faults, close } = await open("/#fans");
    const row = (name: string) => page.locator("#gateways tbody tr", { hasText: name });
    await row("gw-worse").getByText("v3 waits: did worse here").waitFor();
    expect(await row("gw-worse").textContent()).toContain("v2v3 waits");
    await row("gw-back").getByText("v4 waits: rolled back from").waitFor();
    expect(faults).toEqual([]);
    await close();
    await database.kysely.deleteFrom("gateways").where("gateway_id", "in", ["gw-worse", "gw-back"]).execute();
  });

  test("a round that closes appears by itself", async () => {
    const { page, close } = await open("/#pumps");
    await page.locator("#rounds tbody tr").first().waitFor();
    const better = scores(178, 20, 0.86);
    await addRound(database.kysely, {
      cohort: "pumps",
      version: 10,
      verdict: "promoted",
      reason: "a round that came later",
      heldOut: better,
      championHeldOut: scores(164, 26, 0.8),
      factor: 1.16,
      closedAt: new Date(),
    });
    await page.locator("#rounds tbody tr", { hasText: "a round that came later" }).waitFor({ timeout: 10_000 });
    expect(await page.locator("#news").textContent()).toBe("Version 10 was promoted.");
    await database.kysely.deleteFrom("federated_models").where("global_version", "=", 10).execute();
    await database.kysely.deleteFrom("rounds").where("global_version", "=", 10).execute();
    await close();
  });

  test("what an operator did is shown: whose weights the champion has, why, and that it is pinned", async () => {
    const { kysely } = database;
    await addCohort(kysely, "valves", 3);
    for (const [version, tp] of [
      [1, 120],
      [2, 150],
      [3, 160],
    ] as const) {
      const heldOut = scores(tp, 40, tp / 200);
      const values = { cohort: "valves", version, heldOut, championHeldOut: null, factor: 1 };
      await addRound(kysely, { ...values, verdict: "promoted", reason: "no worse" });
    }
    const actions = postgresModelActions(kysely);
    const order = { cohort: cohortId("valves"), actor: "ada", expectedChampion: null };
    await actions.act({ ...order, action: { kind: "roll_back", version: 2 }, reason: "version 3 alarms all day" });
    await actions.act({ ...order, action: { kind: "pin" }, reason: "until the audit" });
    const { page, faults, close } = await open("/#valves");
    const row = page.locator("#models tbody tr").first();
    await row.getByText("version 3 alarms all day").waitFor();
    expect(await row.textContent()).toMatch(/^v4after v3◆pinnedof v2at handada/);
    expect(await page.locator("#models tbody tr").nth(1).textContent()).toContain("↺rolled back");
    const summary = await shown(page, "summary");
    expect(summary).toMatch(/Champion\s*v4v2’s weights, by ada .*pinned by ada: until the audit/);
    expect(summary).toMatch(/Held-out PR-AUC\s*0\.750/);
    await page.screenshot({ path: join(tmpdir(), "flead-page-pinned.png"), fullPage: true });
    expect(faults).toEqual([]);
    await close();
  });

  test("a cohort without gateways and rounds says what it waits for, and null is not evaluated", async () => {
    const { page, faults, close } = await open("/");
    await page.getByLabel("Cohort").selectOption("fans");
    await page.getByText("No round has closed yet").waitFor();
    expect(await shown(page, "gateways")).toContain("No gateway yet");
    expect(await page.locator("#drift-panel").isVisible()).toBe(false);
    const summary = await shown(page, "summary");
    expect(summary).toMatch(/Held-out F1\s*not evaluated/);
    expect(summary).toMatch(/Held-out PR-AUC\s*not evaluated/);
    expect(summary).toContain("the plan’s initial weights");
    await page.screenshot({ path: join(tmpdir(), "flead-page-empty.png"), fullPage: true });
    expect(faults).toEqual([]);
    await close();
  });

  test("a cohort that leaves a plan says which, and how many gateways hold it", async () => {
    const { kysely } = database;
    const left = "1ea7".repeat(16);
    await kysely
      .insertInto("plans")
      .values({ plan_id: left, manifest: "{}", bundle: Buffer.from("bundle") })
      .execute();
    const row = { cohort: "fans", plan_id: left, state: "leaving", federation: "{}", champion_version: 1 } as const;
    await kysely
      .insertInto("cohort_plans")
      .values({ ...row, leave_by: new Date(Date.now() + 3_600_000) })
      .execute();
    const { page, faults, close } = await open("/#fans");
    await page.getByText("leaving plan 1ea71ea71ea7 (v1), which 0 gateways hold").waitFor();
    expect(faults).toEqual([]);
    await close();
    await kysely.deleteFrom("cohort_plans").where("plan_id", "=", left).execute();
  });

  test("a coordinator that stops answering is told from one that is quiet, and its return too", async () => {
    const { page, close } = await open("/#pumps");
    await page.getByText("Live", { exact: true }).waitFor();
    const port = Number(new URL(admin.url).port);
    await admin.close();
    const banner = page.getByRole("alert");
    await banner.getByText("The coordinator does not answer. What you see is from").waitFor({ timeout: 10_000 });
    await page.screenshot({ path: join(tmpdir(), "flead-page-stale.png") });
    expect(await shown(page, "rounds")).toContain("promoted");
    admin = await start(port);
    await banner.waitFor({ state: "hidden", timeout: 10_000 });
    await close();
  }, 40_000);

  test("the API's documentation opens under the same rules", async () => {
    const { page, faults, close } = await open("/docs/");
    await page.getByText("/api/v1/rounds").first().waitFor();
    await page.screenshot({ path: join(tmpdir(), "flead-page-docs.png") });
    expect(faults).toEqual([]);
    await close();
  });
});

/** Two, one of which the champion has drifted on. */
async function addLiveStreams({ kysely }: Database): Promise<void> {
  const live = ["ref-1", "ref-2"].map((device) => ({ device, topic: device }));
  await kysely
    .updateTable("cohort_plans")
    .set({ federation: sql`federation || ${JSON.stringify({ live })}::jsonb` as never })
    .where("cohort", "=", "pumps")
    .execute();
  const [cohort, device] = [cohortId("pumps"), deviceId("ref-1")];
  const rows = ([0, 1, null] as const).map((label, n) => ({ atMs: n, values: Float64Array.of(n), label }));
  const losses = { lateRows: 1, lateLabels: 2, droppedRows: 0, droppedLabels: 0 };
  await postgresLiveWindows(kysely).add(cohort, device, ["flow"], { startMs: 0, endMs: Date.now(), rows, losses });
  await postgresLiveDrift(kysely).record(cohort, device, {
    drift: { championVersion: 8, quality: 0.5, reference: 0.8, windowsBelow: 3, drifted: true },
    turn: "drifted",
    settings: { drop: 0.1, windows: 3, rows: 100, action: "event" },
    evaluatedRows: 2,
    why: null,
    lastVersion: 8,
  });
}

async function addPumps({ kysely }: Database): Promise<void> {
  await addCohort(kysely, "pumps", 8);
  await kysely.updateTable("cohort_plans").set({ learning_rate_factor: 1.1 }).execute();
  const quality: readonly (readonly [tp: number, fp: number, prAuc: number] | null)[] = [
    null,
    [88, 70, 0.47],
    [112, 62, 0.58],
    [131, 52, 0.66],
    [101, 58, 0.55],
    [146, 40, 0.72],
    [158, 31, 0.77],
    [164, 26, 0.8],
  ];
  let champion: ReturnType<typeof scores> | null = null;
  for (const [n, of] of quality.entries()) {
    const heldOut = of && scores(...of);
    const rejected = n === 4;
    await addRound(kysely, {
      cohort: "pumps",
      version: n + 1,
      verdict: rejected ? "rejected" : "promoted",
      reason: rejected
        ? "held-out quality fell by 0.116, more than the margin of 0.05"
        : "held-out quality is no worse than the champion's",
      heldOut,
      championHeldOut: champion,
      factor: rejected ? 0.95 : 1 + n / 70,
      closedAt: before((9 - n) * 50_000),
    });
    if (!rejected) champion = heldOut;
  }
  const health = {
    rows: 48_210,
    rowsRefused: 12,
    updatesTrained: 164,
    samplesTrained: 8200,
    outboxBytes: 0,
    outboxDropped: 0,
    rssBytes: 96_500_000,
  };
  await addGateway(kysely, {
    gatewayId: "gw-north-1",
    cohort: "pumps",
    devices: ["pump-1", "pump-2", "pump-3"],
    health,
    lastSeenAt: before(900),
  });
  await kysely
    .insertInto("gateway_standings")
    .values({
      gateway_id: "gw-north-2",
      cohort: "pumps",
      standing: 0.64,
      reason: "it pulled against the others (cosine -0.83)",
      changed_at: before(60_000),
    })
    .execute();
  await addGateway(kysely, {
    gatewayId: "gw-north-2",
    cohort: "pumps",
    health: { ...health, rows: 47_903, outboxBytes: 18_400 },
    lastSeenAt: before(2_100),
  });
  await addGateway(kysely, {
    gatewayId: "gw-south-1",
    cohort: "pumps",
    site: MARKUP,
    devices: Array.from({ length: 9 }, (_, n) => `pump-${20 + n}`),
    connected: false,
    health: { ...health, rows: 31_400, outboxBytes: 2_310_000, outboxDropped: 3 },
    lastSeenAt: before(4_000_000),
  });
  await addGateway(kysely, {
    gatewayId: "gw-south-2",
    cohort: "pumps",
    devices: ["pump-31"],
    lastSeenAt: before(1_500),
  });
  for (let n = 0; n < 12; n++) await addOpenUpdate(kysely, "pumps", `gw-north-${1 + (n % 3)}`, n);
  await kysely
    .updateTable("local_models")
    .set({ created_at: before(24_000) })
    .execute();
  await addEpisode(kysely, {
    alertId: "A1",
    cohort: "pumps",
    gatewayId: "gw-north-1",
    deviceId: "pump-2",
    receivedAt: before(40_000),
  });
  await addEpisode(kysely, {
    alertId: "A2",
    cohort: "pumps",
    gatewayId: "gw-south-1",
    deviceId: MARKUP,
    severity: "major",
    receivedAt: before(15_000),
  });
  await addEpisode(kysely, {
    alertId: "A3",
    cohort: "pumps",
    gatewayId: "gw-north-2",
    deviceId: "pump-1",
    severity: "minor",
    state: "cleared",
    receivedAt: before(700_000),
  });
}
