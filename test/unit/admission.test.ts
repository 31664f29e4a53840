import { expect, test } from "vitest";
import { Admission, NotAdmittedError } from "../../coordinator/adapters/session/admission.ts";

function setUp(limits = { maxSessions: 3, newSessionsPerSecond: 50 }) {
  let nowMs = 0;
  const admission = new Admission(
    limits,
    () => nowMs,
    () => 0.5,
  );
  const outcome = (act: () => void): number | "admitted" => {
    try {
      act();
      return "admitted";
    } catch (error) {
      if (error instanceof NotAdmittedError) return error.retryAfterMs;
      throw error;
    }
  };
  return {
    enter: () => outcome(() => admission.enter()),
    leave: () => admission.leave(),
    greet: (gateway: string) => outcome(() => admission.greet(gateway)),
    pass: (ms: number) => {
      nowMs += ms;
    },
  };
}

test("one session too many is told to come back, and has its place when another left", () => {
  const { enter, leave } = setUp();
  expect([enter(), enter(), enter()]).toEqual(["admitted", "admitted", "admitted"]);
  expect(enter()).toBe(15_000);
  leave();
  expect(enter()).toBe("admitted");
});

test("a thousand sessions of one gateway are twenty, then one a second, and others are admitted meanwhile", () => {
  const { greet, pass } = setUp();
  const answers = Array.from({ length: 1000 }, () => greet("storm"));
  expect(answers.filter((answer) => answer === "admitted")).toHaveLength(20);
  expect(answers.at(-1)).toBe(1500);
  expect(greet("other")).toBe("admitted");
  pass(1000);
  expect([greet("storm"), greet("storm")]).toEqual(["admitted", 1500]);
});

test("a fleet that comes at once is let in at the rate, two seconds' worth at first", () => {
  const { greet, pass } = setUp();
  const fleet = (from: number) => Array.from({ length: 300 }, (_, n) => greet(`gw-${from + n}`));
  expect(fleet(0).filter((answer) => answer === "admitted")).toHaveLength(100);
  pass(1000);
  expect(fleet(1000).filter((answer) => answer === "admitted")).toHaveLength(50);
});

test("what is known of a gateway that stayed away is forgotten, and of one that did not is kept", () => {
  const { greet, pass } = setUp({ maxSessions: 1, newSessionsPerSecond: 10_000 });
  for (let n = 0; n < 20; n++) greet("storm");
  for (let n = 0; n < 2_000; n++) greet(`gw-${n}`);
  expect(greet("storm")).toBe(1500);
  pass(20_000);
  for (let n = 0; n < 3_000; n++) greet(`gw-${n}`);
  for (let n = 0; n < 20; n++) expect(greet("storm")).toBe("admitted");
});
