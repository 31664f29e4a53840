// Rows of the benchmark's table: means over seeds of what the metrics module measured.
import type { DetectionScores } from "../../learning/detection.ts";
import { aligned } from "../table.ts";

export interface Answer {
  readonly regime: string;
  readonly rule: string | null;
  readonly codec: string | null;
  readonly group: string;
  readonly scores: DetectionScores;
  readonly bytesPerUpdate: number | null;
}

export interface TableRow {
  readonly regime: string;
  readonly rule: string | null;
  readonly codec: string | null;
  readonly group: string;
  readonly seeds: number;
  readonly f1: number | null;
  readonly f1Sd: number | null;
  readonly falseAlarmRate: number | null;
  readonly missingRate: number | null;
  readonly prAuc: number | null;
  readonly vusPr: number | null;
  readonly eventPrecision: number | null;
  readonly eventRecall: number | null;
  /** Share of the events during which an alarm was up, whenever that began. */
  readonly eventsUnderAlarm: number | null;
  readonly eventDelayMedianS: number | null;
  /** Alarm episodes, and those of them that were about an event. */
  readonly episodes: number | null;
  readonly trueEpisodes: number | null;
  readonly bytesPerUpdate: number | null;
}

/** Null when one of them is: a mean over some seeds would be of another thing. */
function mean(values: readonly (number | null)[]): number | null {
  let sum = 0;
  for (const value of values) {
    if (value === null) return null;
    sum += value;
  }
  return values.length > 0 ? sum / values.length : null;
}

/** Of the sample; null for fewer than two values. */
function deviation(values: readonly (number | null)[]): number | null {
  const centre = mean(values);
  if (centre === null || values.length < 2) return null;
  return Math.sqrt(values.reduce<number>((sum, value) => sum + (Number(value) - centre) ** 2, 0) / (values.length - 1));
}

const ratio = (part: number, whole: number) => (whole > 0 ? part / whole : null);

/** Null where there is nothing to find: 0 would say that something was missed. */
const f1Of = ({ f1, tp, fn }: DetectionScores) => (tp + fn > 0 ? f1 : null);

/** One row for each group that stands in `answers` under the same regime, rule and codec, in their order. */
export function tableRows(answers: readonly Answer[]): TableRow[] {
  const kinds = Map.groupBy(answers, ({ regime, rule, codec, group }) => JSON.stringify([regime, rule, codec, group]));
  return Array.from(kinds.values(), (seeds) => {
    const [{ regime, rule, codec, group }] = seeds as [Answer];
    const over = (value: (scores: DetectionScores) => number | null) => seeds.map(({ scores }) => value(scores));
    return {
      regime,
      rule,
      codec,
      group,
      seeds: seeds.length,
      f1: mean(over(f1Of)),
      f1Sd: deviation(over(f1Of)),
      falseAlarmRate: mean(over(({ fp, tn }) => ratio(fp, fp + tn))),
      missingRate: mean(over(({ fn, tp }) => ratio(fn, fn + tp))),
      prAuc: mean(over(({ prAuc }) => prAuc)),
      vusPr: mean(over(({ vusPr }) => vusPr)),
      eventPrecision: mean(over(({ events }) => (events && events.events > 0 ? events.precision : null))),
      eventRecall: mean(over(({ events }) => events?.recall ?? null)),
      eventsUnderAlarm: mean(
        over(({ events }) => events && ratio(events.detectedEvents + events.luckyEvents, events.events)),
      ),
      eventDelayMedianS: mean(over(({ events }) => events?.delayMedianS ?? null)),
      episodes: mean(over(({ events }) => events?.episodes ?? null)),
      trueEpisodes: mean(over(({ events }) => events?.trueEpisodes ?? null)),
      bytesPerUpdate: mean(seeds.map(({ bytesPerUpdate }) => bytesPerUpdate)),
    };
  });
}

const number = (digits: number) => (value: number | null) => (value === null ? "–" : value.toFixed(digits));
const percent = (value: number | null) => (value === null ? "–" : `${(100 * value).toFixed(1)} %`);
const withSd = ({ f1, f1Sd }: TableRow) => (f1Sd === null ? number(3)(f1) : `${number(3)(f1)} ± ${number(3)(f1Sd)}`);

/** Heading and cell of each column. */
const COLUMNS: readonly (readonly [heading: string, cell: (row: TableRow) => string])[] = [
  ["regime", ({ regime }) => regime],
  ["rule", ({ rule }) => rule ?? "–"],
  ["codec", ({ codec }) => codec ?? "–"],
  ["group", ({ group }) => group],
  ["F1", withSd],
  ["false alarms", ({ falseAlarmRate }) => percent(falseAlarmRate)],
  ["missed", ({ missingRate }) => percent(missingRate)],
  ["PR-AUC", ({ prAuc }) => number(3)(prAuc)],
  ["VUS-PR", ({ vusPr }) => number(3)(vusPr)],
  ["event prec.", ({ eventPrecision }) => number(2)(eventPrecision)],
  ["event recall", ({ eventRecall }) => number(2)(eventRecall)],
  ["under alarm", ({ eventsUnderAlarm }) => number(2)(eventsUnderAlarm)],
  ["delay s", ({ eventDelayMedianS }) => number(1)(eventDelayMedianS)],
  ["episodes", ({ episodes }) => number(1)(episodes)],
  ["bytes/update", ({ bytesPerUpdate }) => number(0)(bytesPerUpdate)],
];

export const markdown = (rows: readonly TableRow[]) =>
  aligned([COLUMNS.map(([heading]) => heading), ...rows.map((row) => COLUMNS.map(([, cell]) => cell(row)))]);
