import fc from "fast-check";
import { expect, test } from "vitest";
import { InvalidRoundError } from "../../learning/aggregation/fedavg.ts";
import {
  initialServerState,
  type ServerOptimiser,
  type ServerState,
  serverStep,
} from "../../learning/aggregation/server-optimisers.ts";

const floats = (...values: number[]) => Float32Array.from(values);
const AVGM: ServerOptimiser = { kind: "avgm", momentum: 0.5, rate: 2 };
const ADAPTIVE = { rate: 0.1, beta1: 0.5, beta2: 0.75, tau: 1 } as const;
const ALL: readonly ServerOptimiser[] = [
  { kind: "none" },
  AVGM,
  { kind: "adam", ...ADAPTIVE },
  { kind: "yogi", ...ADAPTIVE },
];

/** The steps `optimiser` takes over `deltas`, from its initial state. */
function walk(optimiser: ServerOptimiser, deltas: readonly Float32Array[]) {
  let state = initialServerState(optimiser, deltas[0]?.length ?? 0);
  const steps = deltas.map((delta) => {
    const next = serverStep(optimiser, state, delta);
    state = next.state;
    return next.delta;
  });
  return { steps, state };
}

test("none passes the delta on and counts the step", () => {
  const { steps, state } = walk({ kind: "none" }, [floats(1, -2), floats(3, 4)]);
  expect(steps).toEqual([floats(1, -2), floats(3, 4)]);
  expect(state).toEqual({ m: floats(), v: floats(), step: 2 });
});

test("momentum adds what is left of the steps before", () => {
  const { steps, state } = walk(AVGM, [floats(1, -4), floats(1, 0), floats(0, 0)]);
  // m: 1, -4 → 1.5, -2 → 0.75, -1; each step twice that.
  expect(steps).toEqual([floats(2, -8), floats(3, -4), floats(1.5, -2)]);
  expect(state).toEqual({ m: floats(0.75, -1), v: floats(), step: 3 });
});

test("adam divides by the root of the mean square", () => {
  const { steps, state } = walk({ kind: "adam", ...ADAPTIVE }, [floats(2), floats(-4)]);
  // v: 1 → .75·1 + .25·4 = 1.75 → .75·1.75 + .25·16 = 5.3125; m: 0 → 1 → -1.5.
  expect(state).toEqual({ m: floats(-1.5), v: floats(5.3125), step: 2 });
  expect(steps[0]?.[0]).toBeCloseTo(0.1 / (Math.sqrt(1.75) + 1), 7);
  expect(steps[1]?.[0]).toBeCloseTo(-0.15 / (Math.sqrt(5.3125) + 1), 7);
});

test("yogi moves v by the square at most, towards it", () => {
  const { steps, state } = walk({ kind: "yogi", ...ADAPTIVE }, [floats(2), floats(1)]);
  // v: 1 → 1 + .25·4 = 2 → 2 - .25·1 = 1.75; m: 0 → 1 → 1.
  expect(state).toEqual({ m: floats(1), v: floats(1.75), step: 2 });
  expect(steps[0]?.[0]).toBeCloseTo(0.1 / (Math.sqrt(2) + 1), 7);
  expect(steps[1]?.[0]).toBeCloseTo(0.1 / (Math.sqrt(1.75) + 1), 7);
});

test("nothing given is changed", () => {
  for (const optimiser of ALL) {
    const state = initialServerState(optimiser, 2);
    const delta = floats(3, -5);
    const before = structuredClone({ state, delta });
    const next = serverStep(optimiser, state, delta);
    expect({ state, delta }).toEqual(before);
    next.delta.fill(9);
    expect(delta).toEqual(before.delta);
  }
});

test.each(ALL.map((optimiser) => [optimiser.kind, optimiser] as const))(
  "a restored %s continues bit for bit, and a zero delta moves nothing from rest",
  (_, optimiser) => {
    const delta = fc.float32Array({ minLength: 3, maxLength: 3, min: -10, max: 10, noNaN: true });
    fc.assert(
      fc.property(fc.array(delta, { minLength: 1, maxLength: 10 }), delta, (deltas, last) => {
        const { state } = walk(optimiser, deltas);
        const restored: ServerState = structuredClone(state);
        expect(serverStep(optimiser, restored, last)).toEqual(serverStep(optimiser, state, last));
        const atRest = serverStep(optimiser, initialServerState(optimiser, 3), floats(0, 0, 0));
        expect([...atRest.delta]).toEqual([0, 0, 0]);
      }),
      { seed: 1 },
    );
  },
);

test("a state of another size or optimiser is refused", () => {
  const adam = ALL[2] as ServerOptimiser;
  expect(() => serverStep(adam, initialServerState(adam, 2), floats(1))).toThrow(InvalidRoundError);
  expect(() => serverStep(adam, initialServerState(AVGM, 1), floats(1))).toThrow(InvalidRoundError);
  expect(() => serverStep(AVGM, initialServerState({ kind: "none" }, 1), floats(1))).toThrow(InvalidRoundError);
});

test("a step that is not finite is refused", () => {
  for (const optimiser of ALL) {
    const state = initialServerState(optimiser, 1);
    expect(() => serverStep(optimiser, state, floats(Number.NaN))).toThrow(InvalidRoundError);
  }
  expect(() => serverStep(AVGM, initialServerState(AVGM, 1), floats(3e38))).toThrow(InvalidRoundError);
});

test.each<ServerOptimiser>([
  { kind: "avgm", momentum: 1, rate: 1 },
  { kind: "avgm", momentum: 0.9, rate: 0 },
  { kind: "adam", ...ADAPTIVE, tau: 0 },
  { kind: "adam", ...ADAPTIVE, beta1: -0.1 },
  { kind: "yogi", ...ADAPTIVE, beta2: Number.NaN },
  { kind: "yogi", ...ADAPTIVE, rate: Number.POSITIVE_INFINITY },
])("%j is out of range", (optimiser) => {
  expect(() => initialServerState(optimiser, 1)).toThrow(RangeError);
});
