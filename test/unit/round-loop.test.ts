import { pino } from "pino";
import { afterEach, beforeEach, describe, expect, test, vi } from "vitest";
import type { Invitation } from "../../coordinator/core/invitation.ts";
import { beginRounds, dueNow, type OpenRound } from "../../coordinator/core/round-machine.ts";
import type { Evaluators } from "../../coordinator/ports/evaluator.ts";
import { RoundConflictError } from "../../coordinator/ports/federation-store.ts";
import { RoundLoop } from "../../coordinator/round-loop.ts";
import { cohortState } from "../support/cohort-state.ts";
import { storeOfRounds, unasked } from "../support/unasked-store.ts";

// The parts are stand-ins because the test decides when each answer of the store comes; no round is ever due.
function setUp() {
  const logged: { level: string; msg: string }[] = [];
  const formatters = { level: (level: string) => ({ level }) };
  const log = pino({ formatters }, { write: (line: string) => void logged.push(JSON.parse(line)) });
  const asked: ((answer: OpenRound | Error) => void)[] = [];
  let aheadMs = 0;
  const store = storeOfRounds(
    () =>
      new Promise((resolve, reject) => {
        asked.push((answer) =>
          answer instanceof Error ? reject(answer) : resolve({ ...answer, nowMs: Date.now() + aheadMs }),
        );
      }),
  );
  const evaluators: Evaluators = { now: unasked, close: unasked };
  const invitations = { ready: unasked, invite: unasked, end: unasked };
  const state = cohortState();
  const deps = {
    store,
    standings: { of: unasked },
    invitations,
    evaluators,
    known: () => state,
    inTurn: <Result>(work: () => Promise<Result>) => work(),
  };
  const setClock = (ms: number) => {
    aheadMs = ms;
  };
  return { loop: new RoundLoop(deps, state, log), asked, logged, setClock };
}

const waiting = (): OpenRound => ({ updates: 3, gateways: 2, openedAtMs: Date.now(), lastRoundAtMs: null });
const settle = () => vi.advanceTimersByTimeAsync(0);

beforeEach(() => {
  vi.useFakeTimers();
});
afterEach(() => {
  vi.useRealTimers();
});

test("an open round is looked at again at its deadline", async () => {
  const { loop, asked } = setUp();
  loop.check();
  asked[0]?.(waiting());
  await settle();
  await vi.advanceTimersByTimeAsync(59_999);
  expect(asked).toHaveLength(1);
  await vi.advanceTimersByTimeAsync(1);
  expect(asked).toHaveLength(2);
});

test.each([
  ["ahead of", 3_600_000],
  ["behind", -3_600_000],
])("a database whose clock is %s the coordinator's says when a round is due", async (_, aheadMs) => {
  const { loop, asked, setClock } = setUp();
  setClock(aheadMs);
  loop.check();
  asked[0]?.({ ...waiting(), openedAtMs: Date.now() + aheadMs });
  await settle();
  await vi.advanceTimersByTimeAsync(59_999);
  expect(asked).toHaveLength(1);
  await vi.advanceTimersByTimeAsync(1);
  expect(asked).toHaveLength(2);
});

test("a round whose cohort was moved meanwhile is run again, and that is no failure", async () => {
  const { loop, asked, logged } = setUp();
  loop.check();
  asked[0]?.(new RoundConflictError("pumps", "the cohort is no longer at revision 3"));
  await settle();
  expect(logged).toMatchObject([{ level: "info", msg: "a round is run again" }]);
  await vi.advanceTimersByTimeAsync(1_000);
  expect(asked).toHaveLength(2);
  asked[1]?.(new Error("something else"));
  await settle();
  expect(logged).toMatchObject([{}, { level: "error", msg: "a round failed; it is tried again" }]);
});

test("however many updates come while it looks or has just looked, it looks once more, a moment later", async () => {
  const { loop, asked } = setUp();
  for (let i = 0; i < 50; i++) loop.check();
  expect(asked).toHaveLength(1);
  asked[0]?.(waiting());
  await settle();
  for (let i = 0; i < 50; i++) loop.check();
  expect(asked).toHaveLength(1);
  await vi.advanceTimersByTimeAsync(200);
  expect(asked).toHaveLength(2);
});

test("a database that does not answer is asked again, later and later", async () => {
  const { loop, asked } = setUp();
  loop.check();
  asked[0]?.(new Error("the database is away"));
  await vi.advanceTimersByTimeAsync(500);
  expect(asked).toHaveLength(2);
  asked[1]?.(new Error("the database is away"));
  await vi.advanceTimersByTimeAsync(499);
  expect(asked).toHaveLength(2);
  await vi.advanceTimersByTimeAsync(501);
  expect(asked).toHaveLength(3);
});

test.each([
  ["answers", waiting],
  ["fails", () => new Error("the database is away")],
])("a loop that is stopped while the database %s sets no further timer", async (_, answer) => {
  const { loop, asked } = setUp();
  loop.check();
  const stopped = loop.stop();
  asked[0]?.(answer());
  await stopped;
  expect(vi.getTimerCount()).toBe(0);
  loop.check();
  expect(asked).toHaveLength(1);
});

test("a round that is to close early and has no quorum yet waits as before", async () => {
  const { loop, asked } = setUp();
  loop.closeEarly();
  asked[0]?.({ ...waiting(), gateways: 1 });
  await vi.advanceTimersByTimeAsync(1_000);
  expect(asked).toHaveLength(1);
  expect(vi.getTimerCount(), "only an arrival can change it").toBe(0);
});

describe("a round that is due now", () => {
  const buffered = cohortState().federation.round;
  const open = { updates: 3, gateways: 2, openedAtMs: 900, lastRoundAtMs: null };
  const facts = { settings: buffered, championVersion: 4, capacity: 1_000, invitation: null, open };
  const invitation: Invitation = {
    ...cohortState(),
    roundId: 7,
    baseVersion: 4,
    gateways: [],
    wanted: 3,
    untilMs: 9_000,
  };
  const synchronous = { ...buffered, mode: "synchronous", gateways: 3, overSelection: 0 } as const;

  test("closes at once, if it has its quorum", () => {
    expect(beginRounds(facts, 1_000)[1]).toMatchObject({ do: "wait" });
    expect(beginRounds(dueNow(facts), 1_000)[1]).toEqual({ do: "close" });
    const few = { ...facts, open: { ...open, gateways: 1 } };
    expect(beginRounds(dueNow(few), 1_000)).toEqual(beginRounds(few, 1_000));
  });

  test("closes at once also when it was invited to", () => {
    const invited = { ...facts, settings: synchronous, invitation };
    expect(beginRounds(invited, 1_000)[1]).toEqual({ do: "wait", untilMs: 9_000 });
    expect(beginRounds(dueNow(invited), 1_000)[1]).toEqual({ do: "close" });
    const few = { ...invited, open: { ...open, gateways: 1 } };
    expect(beginRounds(dueNow(few), 1_000)).toEqual(beginRounds(few, 1_000));
  });
});
