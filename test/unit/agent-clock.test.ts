import { mkdirSync, utimesSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { expect, test } from "vitest";
import { SystemClock } from "../../agent/adapters/system-clock.ts";
import { type ClockState, readClock } from "../../agent/core/clock.ts";
import { temporaryFolder } from "../support/temp.ts";

const DAY_S = 86_400;

/** Looks, `steady seconds, wall seconds, synchronised?`, to what they say of the clock. */
function transcript(looks: readonly (readonly [number, number, boolean])[]): string[] {
  let state: ClockState | null = null;
  return looks.map(([steady, wall, synchronised]) => {
    const reading = readClock(state, { wallMs: 1000 * wall, steadyMs: 1000 * steady, synchronised });
    state = reading.state;
    return `${reading.quality} ${reading.steppedMs ?? "-"}`;
  });
}

test("a clock is stepped for an hour after it was set, forward or back, and else what the machine says of it", () => {
  expect(
    transcript([
      [0, 0, false],
      [10, 10, true],
      [20, 20 + DAY_S, true],
      [30, 30 + DAY_S, true],
      [3619, 3619 + DAY_S, true],
      [3620, 3620 + DAY_S, true],
      [3630, 3630, false],
      [7230, 7230, false],
    ]),
  ).toEqual([
    "unsynchronised -",
    "synced -",
    "stepped 86400000",
    "stepped -",
    "stepped -",
    "synced -",
    "stepped -86400000",
    "unsynchronised -",
  ]);
});

test("a clock that is slewed is not stepped", () => {
  const looks = Array.from({ length: 500 }, (_, look) => [10 * look, 10.8 * look, true] as const);
  expect(new Set(transcript(looks))).toEqual(new Set(["synced -"]));
});

test("the machine's files say whether its clock is synchronised, and are looked at every ten seconds at most", () => {
  const folder = temporaryFolder("sync-files");
  const files = { present: [join(folder, "synchronized")], fresh: [join(folder, "chrony", "drift")] };
  const time = { wallMs: Date.parse("2026-11-21T08:00:00Z"), steadyMs: 0 };
  const steps: number[] = [];
  const clock = new SystemClock({
    onStep: (steppedMs) => steps.push(steppedMs),
    files,
    wallMs: () => time.wallMs,
    steadyMs: () => time.steadyMs,
  });
  const later = (seconds: number) => {
    time.wallMs += 1000 * seconds;
    time.steadyMs += 1000 * seconds;
    return clock.quality();
  };
  expect(clock.quality()).toBe("unsynchronised");
  mkdirSync(join(folder, "chrony"));
  writeFileSync(files.fresh[0] ?? "", "");
  const written = time.wallMs / 1000;
  utimesSync(files.fresh[0] ?? "", written, written);
  expect([later(9), later(1)]).toEqual(["unsynchronised", "synced"]);
  expect([later(3 * 3600 - 11), later(11)]).toEqual(["synced", "unsynchronised"]);
  writeFileSync(files.present[0] ?? "", "");
  expect(later(10)).toBe("synced");
  time.wallMs -= 1000 * DAY_S;
  expect([clock.quality(), later(10)]).toEqual(["stepped", "stepped"]);
  expect(steps).toEqual([-86_400_000]);
});

test("the machine's own clocks go on together", () => {
  const clock = new SystemClock({ onStep: () => expect.unreachable("nobody set the clock") });
  expect(Math.abs(clock.wallMs() - clock.steadyMs())).toBeLessThan(60_000);
  expect(clock.steadyMs()).toBeLessThanOrEqual(clock.steadyMs());
  expect(Number.isInteger(clock.steadyMs())).toBe(true);
  expect(["synced", "unsynchronised"]).toContain(clock.quality());
});
