import { expect, test } from "vitest";
import { LineBudget } from "../../runtime/line-budget.ts";

test("of a flood a minute's lines are written, and the next minute begins with how many were not", () => {
  let nowMs = 0;
  const budget = new LineBudget(3, () => nowMs);
  const minute = () => Array.from({ length: 10 }, () => budget.take());
  expect(minute().filter(({ allowed }) => allowed)).toHaveLength(3);
  nowMs += 59_999;
  expect(budget.take().allowed).toBe(false);
  nowMs += 1;
  expect(budget.take()).toEqual({ allowed: true, leftOut: 8 });
  nowMs += 60_000;
  expect(budget.take()).toEqual({ allowed: true, leftOut: 0 });
});
