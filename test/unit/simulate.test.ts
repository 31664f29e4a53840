import { expect, test } from "vitest";
import { deliveries } from "../../cli/simulate/deliveries.ts";
import { MAX_VERSIONS, Meter } from "../../cli/simulate/meter.ts";
import { Turnstile } from "../../cli/simulate/metered-link.ts";
import { acknowledged, latencyOf, oneAfterTheOther, sideBySide } from "../../cli/simulate/readings.ts";
import { cohortId, planId, type UpdateId } from "../../learning/ids.ts";

const STANDING = { sessionsOpen: 1, ready: 1, plan: null };

function openMeter() {
  const clock = { ms: 0 };
  return { clock, meter: new Meter(() => clock.ms, 1) };
}

const update = (id: string, samples = 10) => ({
  updateId: id as UpdateId,
  cohort: cohortId("simulated"),
  planId: planId("0".repeat(64)),
  baseVersion: 1,
  localSteps: 1,
  samples,
  loss: 0,
  encoding: "int8" as const,
  delta: new Uint8Array(1),
  roundId: null,
});

test("an update that is sent again and answered twice counts once, from its first sending on", () => {
  const { clock, meter } = openMeter();
  meter.sent(update("a", 7));
  clock.ms = 100;
  meter.answered("a", "retry", "");
  meter.sent(update("a", 7));
  clock.ms = 250;
  meter.answered("a", "known", "");
  meter.answered("a", "accepted", "");
  const reading = meter.read(STANDING);
  expect(reading.counts).toMatchObject({ updatesSent: 2, updatesSentAgain: 1, toldToRetry: 1, known: 1, accepted: 0 });
  expect(reading.counts.samplesAcknowledged).toBe(7);
  expect(reading.unanswered).toBe(0);
  expect(reading.lastAcknowledgedMs).toBe(250);
  expect(latencyOf(reading)).toEqual({ p50: 250, p99: 250, max: 250 });
});

test("a refused update is answered and not acknowledged, and its reason is kept", () => {
  const { meter } = openMeter();
  meter.sent(update("a"));
  meter.sent(update("b"));
  meter.answered("a", "refused", "stale_base: too old");
  const reading = meter.read(STANDING);
  expect(reading.counts).toMatchObject({ refused: 1, samplesAcknowledged: 0 });
  expect(acknowledged(reading)).toBe(0);
  expect(reading.unanswered).toBe(1);
  expect(reading.lastRefusal).toBe("stale_base: too old");
  expect(latencyOf(reading)).toBeNull();
});

test("a reading holds what happened since the last one; what is unanswered stays and is timed on", () => {
  const { clock, meter } = openMeter();
  meter.sent(update("a", 3));
  expect(meter.read(STANDING).counts.updatesSent).toBe(1);
  clock.ms = 40;
  meter.answered("a", "accepted", "");
  const second = meter.read(STANDING);
  expect(second.counts).toMatchObject({ updatesSent: 0, accepted: 1, samplesAcknowledged: 3 });
  expect(latencyOf(second)?.max).toBe(40);
  expect(meter.read(STANDING).lastAcknowledgedMs).toBeNull();
});

test("readings of workers add up, those over time keep where things stand", () => {
  const readings = [2, 1].map((worker) => {
    const { clock, meter } = openMeter();
    meter.sent(update(`${worker}`, worker));
    meter.sent(update(`${worker}-open`));
    clock.ms = 100 * worker;
    meter.answered(`${worker}`, "accepted", "");
    meter.champion(2);
    meter.champion(3);
    return meter.read({ sessionsOpen: worker, ready: worker, plan: null });
  });
  const fleet = sideBySide(readings);
  expect(fleet).toMatchObject({ sessionsOpen: 3, ready: 3, unanswered: 2, lastAcknowledgedMs: 200 });
  expect(fleet.counts.samplesAcknowledged).toBe(3);
  expect(fleet.arrivals).toEqual([
    { version: 2, sessions: 2, firstMs: 100, lastMs: 200, sumMs: 300 },
    { version: 3, sessions: 2, firstMs: 100, lastMs: 200, sumMs: 300 },
  ]);
  const later = oneAfterTheOther(fleet, { ...fleet, sessionsOpen: 1, unanswered: 0 });
  expect(later).toMatchObject({ sessionsOpen: 1, unanswered: 0 });
  expect(acknowledged(later)).toBe(4);
  expect(latencyOf(later)).toEqual({ p50: 100, p99: 200, max: 200 });
});

test("arrivals are kept of the newest champions only", () => {
  const { meter } = openMeter();
  for (let version = 1; version <= MAX_VERSIONS + 5; version++) meter.champion(version);
  const reading = meter.read(STANDING);
  expect(reading.arrivals.map(({ version }) => version)).toEqual(Array.from({ length: MAX_VERSIONS }, (_, i) => i + 6));
  expect(oneAfterTheOther(reading, reading).arrivals).toHaveLength(MAX_VERSIONS);
});

test("a delivery is told from the round's close where that is known, else only from first to last", () => {
  const arrivals = [2, 3].map((version) => ({ version, sessions: 4, firstMs: 1_010, lastMs: 1_050, sumMs: 4_120 }));
  expect(deliveries(arrivals, new Map([[3, 1_000]]))).toEqual([
    { version: 2, sessions: 4, spreadMs: 40, afterCloseMs: null },
    { version: 3, sessions: 4, spreadMs: 40, afterCloseMs: { mean: 30, last: 50 } },
  ]);
});

test("a turnstile lets no more than its limit through at once, and the next after a failure", async () => {
  const turnstile = new Turnstile(2);
  let inside = 0;
  let most = 0;
  const work = async (fails: boolean) => {
    most = Math.max(most, ++inside);
    await new Promise((resolve) => setImmediate(resolve));
    inside--;
    if (fails) throw new Error("it failed");
  };
  const passes = Array.from({ length: 9 }, (_, nth) => turnstile.pass(() => work(nth % 2 === 0)));
  const results = await Promise.allSettled(passes);
  expect(results.filter(({ status }) => status === "rejected")).toHaveLength(5);
  expect(most).toBe(2);
});
