import { readdirSync, readFileSync } from "node:fs";
import { join } from "node:path";
import { expect, test } from "vitest";
import { parseLabelledCsv } from "../../runtime/labelled-csv.ts";
import { packageRoot } from "../../runtime/package-root.ts";

test("labels and what hints at them are kept apart from the channels", () => {
  const csv = parseLabelledCsv(
    "datetime;Flow;Volume Flow RateRMS;anomaly;changepoint\n2020-03-09 10:14:33;1.5;32.0;1.0;0.0\n",
  );
  expect(csv.channels).toEqual(["Flow", "Volume Flow RateRMS"]);
  expect(csv.rows).toEqual([[1.5, 32]]);
  expect(csv.labels).toEqual(Uint8Array.of(1));
  expect(csv.atMs).toEqual([Date.UTC(2020, 2, 9, 10, 14, 33)]);
});

test("of several label columns one is the label and none a channel", () => {
  const csv = parseLabelledCsv("a,Label,anomaly,FAULT\n1,1,0,3\n");
  expect(csv).toMatchObject({ channels: ["a"], rows: [[1]], labels: Uint8Array.of(1) });
});

test("a recording without time or label column says so with null", () => {
  expect(parseLabelledCsv("a,b\n1,2\n")).toMatchObject({ channels: ["a", "b"], atMs: null, labels: null });
});

test.each([
  ["a value that is no number", "a,anomaly\n1,0\nx,0\n", 'line 3: a is "x"'],
  ["an empty value", "a,b,anomaly\n1,,0\n", 'line 2: b is ""'],
  ["NaN", "a,anomaly\nNaN,0\n", 'line 2: a is "NaN"'],
  ["a label of NaN", "a,anomaly\n1,NaN\n", 'line 2: anomaly is "NaN"'],
  ["infinity", "a,anomaly\nInfinity,0\n", "line 2: a is"],
  ["a missing field", "a,b,anomaly\n1,2,0\n1,0\n", "line 3: 2 fields, but the header has 3"],
  ["a label that is neither 0 nor 1", "a,anomaly\n1,2\n", "line 2: label 2; allowed are 0 and 1"],
  ["a time that is none", "time,a,anomaly\nyesterday,1,0\n", 'line 2: "yesterday" is not a time'],
  ["a column that stands twice", "a,a,anomaly\n1,1,0\n", 'column "a" stands twice'],
  ["no channel", "time,anomaly\n1,0\n", "the header names no channel"],
  ["an open quote", 'a,anomaly\n"1,0\n', "it is not a CSV file"],
])("%s is refused with its line and what is allowed", (_, text, message) => {
  expect(() => parseLabelledCsv(text)).toThrow(message);
});

const skab = join(packageRoot, "../shared/data/skab/valve1");
const files = (() => {
  try {
    return readdirSync(skab);
  } catch {
    return [];
  }
})();

test.skipIf(files.length === 0)("every SKAB recording is read whole (needs ../shared/data)", () => {
  for (const file of files) {
    const csv = parseLabelledCsv(readFileSync(join(skab, file), "utf8"));
    expect(csv.channels).toHaveLength(8);
    expect(csv.labels?.includes(1)).toBe(true);
  }
});
