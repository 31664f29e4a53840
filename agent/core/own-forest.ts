// An isolation forest of a device's own last good rows, grown anew as they change.
import { type AlarmState, initialAlarm, stepAlarm } from "../../learning/alarm.ts";
import type { DeviceId } from "../../learning/ids.ts";
import { type ForestSettings, type ForestSnapshot, IsolationForest } from "../../learning/isolation-forest.ts";
import { type RingSnapshot, RowRing } from "../../learning/row-ring.ts";
import { percentile, quantile } from "../../learning/threshold.ts";
import { hash } from "./hash.ts";

export const FOREST_ROWS = 256;
/** Of the rows after the first 256 one in four enters: the forest knows the last 1,024, at a quarter of the memory. */
const ROWS_PER_ENTRY = 4;
const ROWS_PER_GROWTH = 256;
/** About 15 KiB and 3 ms a device at 8 channels; 100 trees of 256 rows take eight times as much and alarm more often. */
const SETTINGS: Omit<ForestSettings, "seed"> = { trees: 32, subsampleRows: 64, contamination: "auto" };
const THRESHOLD_QUANTILE = 0.995;
/** Scores much under it are those of rows that are nothing special. Liu et al. 2008, section 2. */
const LOWEST_THRESHOLD = 0.6;
/** Splits end where the forest's rows do: it does not see how far beyond them a value is, be it 20 deviations. */
const FAR_DEVIATIONS = 6;

/** Structured-clonable. */
export interface OwnForestSnapshot {
  readonly rows: RingSnapshot<Float64Array>;
  readonly taken: number;
  readonly grown: { readonly forest: ForestSnapshot; readonly scores: Float64Array } | null;
  readonly alarm: AlarmState;
}

interface Grown {
  readonly forest: IsolationForest;
  /** Of the rows it was grown from, each by a forest that had not seen it; ascending. */
  readonly scores: Float64Array;
  readonly threshold: number;
  readonly median: number;
}

export interface ForestVerdict {
  readonly score: number;
  readonly threshold: number;
  readonly over: boolean;
  readonly active: boolean;
  readonly confidence: number;
  /** Score and threshold above the median of good rows: an isolation score itself has no zero. */
  readonly excess: { readonly score: number; readonly threshold: number };
}

export class OwnForest {
  readonly #seed: number;
  readonly #rows: RowRing<Float64Array>;
  /** Rows offered so far. */
  #taken = 0;
  #grown: Grown | null = null;
  #alarm = initialAlarm;

  constructor(deviceId: DeviceId, channels: number) {
    this.#seed = hash(deviceId);
    this.#rows = new RowRing(new Float64Array(FOREST_ROWS * channels), channels);
  }

  /** Scores as the one that the snapshot is of. Throws when it has other channels or is damaged. */
  static restore(snapshot: OwnForestSnapshot, deviceId: DeviceId, channels: number): OwnForest {
    const restored = new OwnForest(deviceId, channels);
    restored.#rows.adopt(snapshot.rows);
    restored.#taken = snapshot.taken;
    if (snapshot.grown !== null) {
      const forest = IsolationForest.restore(snapshot.grown.forest);
      if (forest.channels !== channels) throw new RangeError(`a forest of ${forest.channels} channels for ${channels}`);
      restored.#grown = grownOf(forest, snapshot.grown.scores);
    }
    restored.#alarm = snapshot.alarm;
    return restored;
  }

  /** It has 256 rows to judge by, and something varied in them. */
  get ready(): boolean {
    return this.#grown !== null;
  }

  /** Takes a good row. */
  learn(row: Float64Array): void {
    const beyond = ++this.#taken - FOREST_ROWS;
    if (beyond > 0 && beyond % ROWS_PER_ENTRY !== 0) return;
    this.#rows.enter(row);
    if (beyond >= 0 && beyond % ROWS_PER_GROWTH === 0) this.#grow();
  }

  /** A row with a channel beyond 6 standard deviations scores 1, the most there is. Needs to be ready. */
  judge(row: Float64Array, atMs: number): ForestVerdict {
    const { forest, scores, threshold, median } = this.#ready();
    const far = forest.standardise(row).some((deviation) => Math.abs(deviation) > FAR_DEVIATIONS);
    const score = far ? 1 : forest.score(row);
    const excess = { score: score - median, threshold: threshold - median };
    this.#alarm = stepAlarm(this.#alarm, { ...excess, atMs });
    const { active } = this.#alarm;
    return { score, threshold, over: score > threshold, active, confidence: percentile(scores, score), excess };
  }

  /** Each channel's deviation from its mean, in standard deviations of the forest's rows. Needs to be ready. */
  deviations(row: Float64Array): Float32Array {
    return this.#ready().forest.standardise(row);
  }

  /** Mean ± 3 standard deviations of the forest's rows, in the channel's unit. Needs to be ready. */
  expected(channel: number): readonly [number, number] {
    return this.#ready().forest.expected(channel);
  }

  resetAlarm(): void {
    this.#alarm = initialAlarm;
  }

  snapshot(): OwnForestSnapshot {
    const grown = this.#grown && { forest: this.#grown.forest.snapshot(), scores: this.#grown.scores };
    return { rows: this.#rows.snapshot(), taken: this.#taken, grown, alarm: this.#alarm };
  }

  #ready(): Grown {
    if (this.#grown === null) throw new Error("a forest that is not grown yet judges nothing");
    return this.#grown;
  }

  /** The threshold is of scores that the later half of the rows gets from the earlier one, and the other way round. */
  #grow(): void {
    const x = inOrder(this.#rows);
    const middle = (FOREST_ROWS / 2) * this.#rows.columns;
    const [earlier, later] = [x.slice(0, middle), x.slice(middle)];
    const ofEarlier = this.#train(later).scoreRows(earlier);
    const ofLater = this.#train(earlier).scoreRows(later);
    const scores = Float64Array.of(...ofEarlier, ...ofLater).sort();
    const forest = this.#train(x);
    const splits = forest.trees.feature.length > forest.trees.root.length;
    this.#grown = splits ? grownOf(forest, scores) : null;
  }

  #train(x: Float64Array): IsolationForest {
    return IsolationForest.train(x, this.#rows.columns, { ...SETTINGS, seed: this.#seed });
  }
}

function grownOf(forest: IsolationForest, scores: Float64Array): Grown {
  const threshold = Math.max(LOWEST_THRESHOLD, quantile(scores, THRESHOLD_QUANTILE));
  return { forest, scores, threshold, median: quantile(scores, 0.5) };
}

/** The rows held, the oldest first. */
function inOrder(rows: RowRing<Float64Array>): Float64Array {
  const x = new Float64Array(rows.count * rows.columns);
  for (let age = rows.count - 1, at = 0; age >= 0; age--, at += rows.columns) {
    const offset = rows.offset(age);
    x.set(rows.values.subarray(offset, offset + rows.columns), at);
  }
  return x;
}
