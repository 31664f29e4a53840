// What the leader makes of messages of reference gateways. The broker and the database are stand-ins because the test
// decides when each is away.
import { afterEach, beforeEach, expect, test } from "vitest";
import type { CohortState } from "../../coordinator/core/cohort-state.ts";
import type { ClosedWindow } from "../../coordinator/core/live-windows.ts";
import { type LiveProblem, liveStreamsDuty } from "../../coordinator/live-streams.ts";
import type { LiveBrokerHandlers } from "../../coordinator/ports/live-broker.ts";
import { compilePlan } from "../../learning/compile-plan.ts";
import type { LiveStreamSettings } from "../../learning/plan.ts";
import { createLogger } from "../../runtime/log.ts";
import { cohortState } from "../support/cohort-state.ts";
import { eventually } from "../support/eventually.ts";
import { smallSettings } from "../support/small-plan.ts";

const { manifest } = compilePlan(smallSettings());
const START = Math.floor(Date.now() / 10_000) * 10_000 - 600_000;
const STREAM: LiveStreamSettings = {
  device: "ref-1",
  topic: "lab/rows",
  labelTopic: "lab/labels",
  labelField: null,
  windowMs: 10_000,
  latenessMs: 0,
};

class Site {
  stored: ClosedWindow[] = [];
  measured = 0;
  /** In vain. */
  tried = 0;
  readonly problems: [LiveProblem, string][] = [];
  topics: ReadonlySet<string> = new Set();
  isAway = false;
  lastEndMs: number | null = null;
  closed = false;
  #states: CohortState[] = [];
  #handlers: LiveBrokerHandlers | null = null;
  readonly #stop = new AbortController();
  #running: Promise<void> = Promise.resolve();

  async start(...live: LiveStreamSettings[]): Promise<void> {
    this.follow(...live);
    const site = this;
    this.#running = liveStreamsDuty({
      directory: {
        get cohorts() {
          return site.#states;
        },
      },
      windows: {
        lastEndMs: async () => this.lastEndMs,
        add: async (_cohort, _device, channels, window) => {
          if (this.isAway) {
            this.tried++;
            throw new Error("the database is away");
          }
          expect(channels).toEqual(["flow", "current"]);
          const isKnown = this.stored.some(({ startMs }) => startMs === window.startMs);
          if (!isKnown) this.stored.push(window);
          return isKnown ? "known" : "stored";
        },
      },
      openBroker: (handlers) => {
        this.#handlers = handlers;
        return {
          follow: (topics) => {
            this.topics = topics;
          },
          close: async () => {
            this.closed = true;
          },
        };
      },
      report: (kind, _where, what) => this.problems.push([kind, what]),
      measure: async () => {
        this.measured++;
        throw new Error("no model can be loaded");
      },
      log: createLogger("test", "silent"),
    }).run(this.#stop.signal);
    await eventually("the topics are followed", () => (this.topics.size > 0 ? true : undefined));
  }

  follow(...live: LiveStreamSettings[]): void {
    const state = cohortState({ manifest });
    this.#states = [{ ...state, federation: { ...state.federation, live } }];
  }

  say(topic: string, body: object, retained = false): void {
    const payload = Buffer.from(JSON.stringify(body));
    this.#handlers?.onMessage({ topic, payload, retained, receivedAtMs: Date.now() });
  }

  row(second: number, more: object = {}): void {
    this.say("lab/rows", { timestamp: START + second * 1_000, data: { flow: second, current: 1, ...more } });
  }

  windows(count: number): Promise<ClosedWindow[]> {
    return eventually(`${count} windows`, () => (this.stored.length === count ? this.stored : undefined));
  }

  /** Storing was tried again, in vain. */
  async triesAgain(): Promise<void> {
    const before = this.tried;
    await eventually("another try", () => (this.tried > before ? true : undefined));
    expect(this.stored).toEqual([]);
  }

  async stop(): Promise<void> {
    this.#stop.abort();
    await this.#running;
  }
}

let site: Site;
beforeEach(() => {
  site = new Site();
});
afterEach(() => site.stop());

const labels = ([window]: readonly ClosedWindow[]) => window?.rows.map(({ label }) => label);

test("a row's own label counts, and what is said by time stands over it", async () => {
  await site.start(STREAM);
  site.row(0, { anomaly: 1 });
  site.row(1, { anomaly: 0 });
  site.row(2);
  site.row(3, { anomaly: 0 });
  site.say("lab/labels", { label: 1, from: START + 3_000, to: START + 3_000 });
  site.row(10);
  expect(labels(await site.windows(1))).toEqual([1, 0, null, 1]);
  expect(site.stored[0]?.rows[2]?.values, "no label is among the values").toEqual(Float64Array.of(2, 1));
});

test("a label may be in a field of its own name, and no other field labels then", async () => {
  await site.start({ ...STREAM, labelField: "broken" });
  site.row(0, { broken: true });
  site.row(1, { broken: 0 });
  site.row(2, { anomaly: 1 });
  site.row(3, { broken: "yes" });
  site.row(10);
  expect(labels(await site.windows(1))).toEqual([1, 0, null, null]);
});

test("what is of another device, kept by the broker, or no row is refused with why", async () => {
  await site.start(STREAM);
  site.say("lab/rows", { device_id: "ref-2", timestamp: START, data: { flow: 1, current: 1 } });
  site.say("lab/rows", { timestamp: START, data: { flow: 1, current: 1 } }, true);
  site.say("lab/rows", { timestamp: START, data: { flow: 1 } });
  site.say("lab/labels", { label: 2, from: START, to: START });
  site.say("lab/other", {});
  const said = site.problems.map(([kind, what]) => `${kind} ${what.split(":")[0]}`);
  expect(said).toEqual([
    "live_row_refused wrong_shape",
    "live_row_refused retained",
    "live_row_refused missing_channel",
    "live_label_refused bad_label",
  ]);
});

test("windows that close while the database is away are stored once it is back, each once and in order", async () => {
  await site.start(STREAM);
  site.isAway = true;
  site.row(0);
  site.row(10);
  await site.triesAgain();
  site.row(20);
  await site.triesAgain();
  site.isAway = false;
  const stored = await site.windows(2);
  expect(stored.map(({ startMs }) => startMs)).toEqual([START, START + 10_000]);
  expect(site.measured, "each is measured, though that fails").toBe(2);
});

test("who begins after stored windows takes no row of them", async () => {
  site.lastEndMs = START + 10_000;
  await site.start(STREAM);
  site.row(5);
  site.row(15);
  site.row(20);
  expect((await site.windows(1))[0]).toMatchObject({ startMs: START + 10_000, losses: { lateRows: 1 } });
});

test("topics follow the cohort's settings, and the broker is left with the term", async () => {
  await site.start(STREAM);
  expect([...site.topics]).toEqual(["lab/rows", "lab/labels"]);
  site.follow({ ...STREAM, topic: "lab/moved", labelTopic: null });
  await eventually("the new topic", () => (site.topics.has("lab/moved") && site.topics.size === 1 ? true : undefined));
  await site.stop();
  expect(site.closed).toBe(true);
});
