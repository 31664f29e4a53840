// The clock of a gateway and its sensors jumps a day either way: no alarm comes of it, and what is said says that it jumped.
import { describe, expect, onTestFinished, test } from "vitest";
import { SystemClock } from "../../agent/adapters/system-clock.ts";
import { seededRandom } from "../../learning/random.ts";
import { debianProgram } from "../support/debian-program.ts";
import { eventually } from "../support/eventually.ts";
import { freePort, startMosquitto } from "../support/mosquitto.ts";
import { BASE, openAgent, SiteClient, START_MS } from "../support/mosquitto-site.ts";
import { temporaryFolder } from "../support/temp.ts";

const mosquitto = debianProgram("mosquitto");
const DAY_MS = 86_400_000;
const EVERY_MS = 10_000;
const ROWS = 60;
/** Of a clock that was set back, until it is believed. */
const UNBELIEVED = 19;

/** A gateway and a pump by one wall clock, which the test sets; the pump says a row every ten seconds. */
async function openSite() {
  const broker = await startMosquitto(mosquitto as string, temporaryFolder("clock-jumps"));
  onTestFinished(() => broker.stop());
  const time = { steadyMs: START_MS, setMs: 0 };
  const clock = new SystemClock({
    onStep: () => undefined,
    files: { present: [], fresh: [] },
    wallMs: () => time.steadyMs + time.setMs,
    steadyMs: () => time.steadyMs,
  });
  const client = await SiteClient.open(broker.url, [`${BASE}/#`]);
  const httpPort = await freePort();
  const variables = { FLEAD_AGENT_HTTP: `127.0.0.1:${httpPort}` };
  await openAgent({ url: broker.url, folder: temporaryFolder("clock-jumps-data"), variables, clock });
  await eventually("the agent is online", () => client.events(`${BASE}/status`)[0]);
  const figures = async () => {
    const text = await (await fetch(`http://127.0.0.1:${httpPort}/metrics`)).text();
    const count = (name: string) => Number(new RegExp(`^flead_agent_${name} (\\d+)$`, "m").exec(text)?.[1] ?? 0);
    return { judged: count("rows_judged_total"), late: count('readings_refused_total{kind="out_of_order"}') };
  };
  const random = seededRandom(3);
  let said = 0;
  /** Each row is heard before time goes on. */
  const run = async (rows: number, fault = 0) => {
    for (let row = 0; row < rows; row++) {
      time.steadyMs += EVERY_MS;
      const timestamp = new Date(time.steadyMs + time.setMs - 5).toISOString();
      await client.say("flead/v1/hall-1/pump-1/telemetry", { timestamp, current: 3 + 0.05 * random.normal() + fault });
      said++;
      await eventually(`row ${said}`, async () => {
        const { judged, late } = await figures();
        return judged + late === said ? true : undefined;
      });
    }
  };
  return { client, time, run, figures };
}

describe.skipIf(mosquitto === null)("over mosquitto", () => {
  test("a clock that jumps a day forward, and two days back, raises nothing; an alarm after it is raised and says so", async () => {
    const { client, time, run, figures } = await openSite();
    await run(ROWS);
    time.setMs += DAY_MS;
    await run(ROWS);
    expect(await figures()).toEqual({ judged: 2 * ROWS, late: 0 });
    time.setMs -= 2 * DAY_MS;
    await run(ROWS);
    expect(await figures()).toEqual({ judged: 3 * ROWS - UNBELIEVED, late: UNBELIEVED });
    const events = () => client.events(`${BASE}/event/pump-1/z_score`);
    expect(events()).toEqual([]);
    await run(5, 4);
    const raised = await eventually("the alarm", () => events()[0]);
    expect(raised).toMatchObject({ type: "flead.anomaly.raised.v1", data: { quality: { clock: "stepped" } } });
    expect(Date.parse(raised.time), "by the clock as it is now").toBeLessThan(START_MS);
  });
});
