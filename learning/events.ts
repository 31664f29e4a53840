// Detection counted as people meet it: labelled events found, alarm episodes that were worth raising, and how late they came.

/** Rows begin ≤ row < end of one series. */
export interface Interval {
  readonly begin: number;
  readonly end: number;
}

/**
 * What still counts as about an event. An alarm is judged by when it begins: it is timely for an event [b, e) when it
 * begins at a row in [b − lookBackRows, e) and is up at a row of [b, e). So an alarm that was up for longer than the
 * look-back before the event began found it by luck, and always-alarm finds nothing. Infinite `lookBackRows` make any
 * overlap timely.
 */
export interface EventRules {
  /** An episode that begins at a row in [e, e + toleranceRows) is late, not false: it finds nothing but costs no precision. */
  readonly toleranceRows: number;
  readonly lookBackRows: number;
}

/** Look-back: about as exact as labels are. Tolerance: about as long as trailing windows remember. */
export const EVENT_RULES: EventRules = { toleranceRows: 30, lookBackRows: 10 };

/** One series' events against its alarms; series are pooled by `summariseEvents`. */
export interface EventOutcome {
  readonly events: number;
  /** Events without a timely episode that an earlier alarm overlapped. */
  readonly luckyEvents: number;
  readonly episodes: number;
  /** Episodes timely for an event, or within the tolerance after one. */
  readonly trueEpisodes: number;
  /** Per detected event, in time order: rows from its begin to the first timely alarm, 0 when that was up at the begin. */
  readonly delayRows: readonly number[];
  /** The same in seconds of row time; null when no row times were given. */
  readonly delayS: readonly number[] | null;
}

export interface EventScores {
  readonly events: number;
  readonly detectedEvents: number;
  readonly luckyEvents: number;
  readonly episodes: number;
  readonly trueEpisodes: number;
  /** True episodes / episodes; null without an episode. */
  readonly precision: number | null;
  /** Detected events / events; null without an event. */
  readonly recall: number | null;
  /** Harmonic mean; 0 when nothing was right or only one of the two exists; null without event and episode. */
  readonly f1: number | null;
  /** Over detected events; null when there is none, in seconds also when a series that detected had no row times. */
  readonly delayMedianRows: number | null;
  readonly delayMedianS: number | null;
}

/** Maximal runs of flags other than 0, in order: per-row labels to events, per-row alarm states to episodes. */
export function runsOf(flags: ArrayLike<number>): Interval[] {
  const runs: Interval[] = [];
  for (let row = 0; row < flags.length; row++) {
    if (!flags[row]) continue;
    const begin = row;
    while (row < flags.length && flags[row]) row++;
    runs.push({ begin, end: row });
  }
  return runs;
}

function checkOrdered(intervals: readonly Interval[]): void {
  let after = 0;
  for (const { begin, end } of intervals) {
    const whole = Number.isInteger(begin) && Number.isInteger(end);
    if (!(whole && begin >= after && end > begin)) {
      throw new RangeError(`rows ${begin} to ${end} are empty, or not after row ${after}`);
    }
    after = end;
  }
}

function checkRules({ toleranceRows, lookBackRows }: EventRules): void {
  if (!(toleranceRows >= 0 && lookBackRows >= 0)) {
    throw new RangeError(`tolerance ${toleranceRows} and look-back ${lookBackRows} must not be negative`);
  }
}

const overlaps = (a: Interval, b: Interval) => a.begin < b.end && b.begin < a.end;

const timely = (episode: Interval, event: Interval, lookBackRows: number) =>
  overlaps(episode, event) && episode.begin >= event.begin - lookBackRows;

const late = (episode: Interval, event: Interval, toleranceRows: number) =>
  episode.begin >= event.end && episode.begin < event.end + toleranceRows;

/**
 * `events` and `episodes` ascend and do not overlap among themselves (as `runsOf` gives them); `atMs` (length rows, epoch
 * milliseconds) turns delays into seconds. One episode may find several events and be counted true once. Throws
 * RangeError for disordered intervals, negative rules, or an event or detection at a row without a finite time.
 */
export function matchEvents(input: {
  readonly events: readonly Interval[];
  readonly episodes: readonly Interval[];
  readonly atMs?: ArrayLike<number>;
  readonly rules?: EventRules;
}): EventOutcome {
  const { events, episodes, atMs, rules = EVENT_RULES } = input;
  checkOrdered(events);
  checkOrdered(episodes);
  checkRules(rules);
  const detections = events.flatMap((event) => {
    const first = episodes.find((episode) => timely(episode, event, rules.lookBackRows));
    return first === undefined ? [] : [{ begin: event.begin, at: Math.max(first.begin, event.begin) }];
  });
  const overlapped = events.filter((event) => episodes.some((episode) => overlaps(episode, event))).length;
  const isTrue = (episode: Interval) =>
    events.some((e) => timely(episode, e, rules.lookBackRows) || late(episode, e, rules.toleranceRows));
  return {
    events: events.length,
    luckyEvents: overlapped - detections.length,
    episodes: episodes.length,
    trueEpisodes: episodes.filter(isTrue).length,
    delayRows: detections.map(({ begin, at }) => at - begin),
    delayS: atMs ? detections.map(({ begin, at }) => (timeAt(atMs, at) - timeAt(atMs, begin)) / 1000) : null,
  };
}

function timeAt(atMs: ArrayLike<number>, row: number): number {
  const at = atMs[row];
  if (at === undefined || !Number.isFinite(at)) throw new RangeError(`row ${row} has no time`);
  return at;
}

/** The middle value, or the mean of the middle two; null for none. */
function median(values: readonly number[]): number | null {
  if (values.length === 0) return null;
  const sorted = values.toSorted((a, b) => a - b);
  const half = sorted.length >> 1;
  return (Number(sorted[half]) + Number(sorted[(sorted.length - 1) >> 1])) / 2;
}

const ratio = (part: number, whole: number) => (whole > 0 ? part / whole : null);

/** Pools any number of series: every event and every episode counts alike, whatever series it is from. */
export function summariseEvents(outcomes: readonly EventOutcome[]): EventScores {
  const total = (count: (outcome: EventOutcome) => number) => outcomes.reduce((sum, each) => sum + count(each), 0);
  const [events, episodes] = [total((each) => each.events), total((each) => each.episodes)];
  const trueEpisodes = total((each) => each.trueEpisodes);
  const delays = outcomes.flatMap((each) => each.delayRows);
  const timed = outcomes.every((each) => each.delayS !== null || each.delayRows.length === 0);
  const precision = ratio(trueEpisodes, episodes);
  const recall = ratio(delays.length, events);
  const harmonic = precision && recall ? (2 * precision * recall) / (precision + recall) : 0;
  return {
    events,
    detectedEvents: delays.length,
    luckyEvents: total((each) => each.luckyEvents),
    episodes,
    trueEpisodes,
    precision,
    recall,
    f1: precision === null && recall === null ? null : harmonic,
    delayMedianRows: median(delays),
    delayMedianS: timed ? median(outcomes.flatMap((each) => each.delayS ?? [])) : null,
  };
}
