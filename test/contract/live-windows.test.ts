// Windows of live streams in each home of the database, and the held-out streams that are made of them.
import { beforeEach, expect, test } from "vitest";
import { followLiveStreams } from "../../coordinator/adapters/live-held-out.ts";
import { postgresLiveWindows } from "../../coordinator/adapters/postgres-live-windows.ts";
import { postgresServedDevices } from "../../coordinator/adapters/postgres-served-devices.ts";
import { UNLABELLED } from "../../coordinator/core/evaluate.ts";
import { KEPT_WINDOWS } from "../../coordinator/core/live-stream.ts";
import type { ClosedWindow, LiveRow } from "../../coordinator/core/live-windows.ts";
import { compilePlan } from "../../learning/compile-plan.ts";
import { cohortId, deviceId } from "../../learning/ids.ts";
import { rowsToCalibrate } from "../../learning/monitor.ts";
import type { LiveStreamSettings, Manifest } from "../../learning/plan.ts";
import { addCohort, addGateway } from "../support/fleet-rows.ts";
import { onEveryHome } from "../support/homes.ts";
import { smallSettings } from "../support/small-plan.ts";

const { manifest } = compilePlan(smallSettings());
const HEAD = rowsToCalibrate(manifest);
const CHANNELS = manifest.channels.map(({ name }) => name);
const REF = deviceId("ref-1");
const WINDOW_MS = 60_000;
const START = 1_700_000_040_000;
const LIVE: LiveStreamSettings = {
  device: REF,
  topic: "lab/ref-1",
  labelTopic: null,
  labelField: null,
  windowMs: WINDOW_MS,
  latenessMs: 0,
};

/** The nth, at a row a second. */
function windowOf(nth: number, labelOf: (row: number) => LiveRow["label"] = () => 0): ClosedWindow {
  const startMs = START + nth * WINDOW_MS;
  const rows = Array.from({ length: 60 }, (_, i): LiveRow => {
    const row = nth * 60 + i;
    return { atMs: startMs + i * 1_000, values: Float64Array.of(Math.sin(row), row / 7), label: labelOf(row) };
  });
  const losses = { lateRows: 1, lateLabels: 2, droppedRows: 3, droppedLabels: 4 };
  return { startMs, endMs: startMs + WINDOW_MS, rows, losses };
}

onEveryHome((home) => {
  let cohort = cohortId("cohort-0");
  let cohorts = 0;
  const db = () => home.database.kysely;
  const store = () => postgresLiveWindows(db());
  const add = (window: ClosedWindow, device = REF) => store().add(cohort, device, CHANNELS, window);
  const follow = (its: Manifest = manifest, settings = [LIVE]) =>
    followLiveStreams({ windows: store(), served: postgresServedDevices(db()), settings: () => settings }, cohort, its);
  const refusal = async (its?: Manifest) => (await follow(its)()).refused.get(REF);

  beforeEach(async () => {
    cohort = cohortId(`cohort-${cohorts++}`);
    await addCohort(db(), cohort, 1);
  });

  test("a window is there as it closed, once, whoever stores it again", async () => {
    const window = windowOf(0, (row) => ([0, 1, null] as const)[row % 3] ?? null);
    expect(await store().lastEndMs(cohort, REF)).toBeNull();
    expect(await add(window)).toBe("stored");
    expect(await add(windowOf(0))).toBe("known");
    const [key, ...others] = await store().keys(cohort);
    expect(others).toEqual([]);
    expect(key).toMatchObject({ device: REF, startMs: START });
    if (key === undefined) return;
    expect(await store().content(cohort, key)).toEqual({ channels: CHANNELS, rows: window.rows });
    expect(await store().content(cohort, { ...key, sha256: "0".repeat(64) })).toBeNull();
    expect(await store().lastEndMs(cohort, REF)).toBe(window.endMs);
    const row = await db().selectFrom("live_windows").selectAll().where("cohort", "=", cohort).executeTakeFirst();
    const counts = { rows: 60, labelled: 40, anomalies: 20, late_rows: 1, late_labels: 2, dropped_rows: 3 };
    expect(row).toMatchObject({ ...counts, dropped_labels: 4 });
  });

  test("a missing value stays missing", async () => {
    const window = windowOf(0);
    const rows = window.rows.with(1, { atMs: START + 1_000, values: Float64Array.of(Number.NaN, 1), label: 0 });
    await add({ ...window, rows });
    const [key] = await store().keys(cohort);
    expect(key && (await store().content(cohort, key))?.rows).toEqual(rows);
  });

  test("of a stream the newest windows are kept, of each its own", async () => {
    for (let nth = 0; nth < KEPT_WINDOWS + 2; nth++) await add(windowOf(nth));
    await add(windowOf(0), deviceId("ref-2"));
    const keys = await store().keys(cohort);
    expect(keys.map(({ device, startMs }) => `${device} ${startMs}`)).toEqual([
      ...Array.from({ length: KEPT_WINDOWS }, (_, nth) => `${REF} ${START + (nth + 2) * WINDOW_MS}`),
      `ref-2 ${START}`,
    ]);
  });

  test("the windows are one held-out stream, read when they are others than before", async () => {
    for (let nth = 0; nth < 6; nth++) await add(windowOf(nth, (row) => (row === 300 ? 1 : row % 2 ? 0 : null)));
    const now = follow();
    const known = await now();
    const [stream] = known.streams;
    expect(stream).toMatchObject({ stream: "live/ref-1", live: true, sha256: expect.stringMatching(/^[0-9a-f]{64}$/) });
    expect(stream?.rows).toHaveLength(360);
    expect(Array.from(stream?.labels.slice(298, 302) ?? [])).toEqual([UNLABELLED, 0, 1, 0]);
    expect(await now()).toBe(known);
    await add(windowOf(6));
    const [longer] = (await now()).streams;
    expect(longer?.rows).toHaveLength(420);
    expect(longer?.sha256).not.toBe(stream?.sha256);
  });

  test("a stream begins after an anomaly that its head would hold", async () => {
    for (let nth = 0; nth < 10; nth++) await add(windowOf(nth, (row) => (row === 30 || row === 90 ? 1 : 0)));
    const [stream] = (await follow()()).streams;
    expect(stream?.atMs[0]).toBe(START + 91_000);
  });

  test("a stream that can't be evaluated says why", async () => {
    expect(await refusal()).toBe("no window has closed yet");
    await add(windowOf(0));
    expect(await refusal()).toBe(`60 rows are stored, and the first ${HEAD} calibrate the device`);
    for (let nth = 1; nth < 6; nth++) await add(windowOf(nth, () => null));
    expect(await refusal()).toBe("no stored row has a label");
    const other = { ...manifest, channels: [...manifest.channels, { name: "unheard", unit: "" }] };
    expect(await refusal(other)).toMatch(/^0 rows are stored/);
    expect((await follow(manifest, [])()).refused).toEqual(new Map());
  });

  test("a stream whose device a gateway serves is not evaluated on, and the gateway is told of once", async () => {
    for (let nth = 0; nth < 6; nth++) await add(windowOf(nth));
    const served = postgresServedDevices(db());
    await db()
      .updateTable("cohort_plans")
      .set({ federation: JSON.stringify({ live: [LIVE] }) })
      .where("cohort", "=", cohort)
      .execute();
    const now = follow();
    expect((await now()).streams).toHaveLength(1);
    expect(await served.newlyServed()).toEqual([]);
    await addGateway(db(), { gatewayId: `gw-${cohort}`, cohort, devices: [REF] });
    expect(await now()).toMatchObject({
      streams: [],
      refused: new Map([[REF, expect.stringMatching(/may train on/)]]),
    });
    expect(await served.newlyServed()).toEqual([{ cohort, device: REF, gatewayId: `gw-${cohort}` }]);
    expect(await served.newlyServed()).toEqual([]);
  });
});
