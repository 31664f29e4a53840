// Readings that arrive wait in one queue and are judged batch by batch; while many wait, no more are taken off the brokers.
import { setImmediate as nextTurn } from "node:timers/promises";
import type { CohortId, DeviceId } from "../learning/ids.ts";
import type { Reading } from "../learning/telemetry/default-mapping.ts";
import { isRefusal, type Refusal } from "../learning/telemetry/refusal.ts";
import type { Cohort } from "./cohort.ts";
import { type CohortRule, cohortOf } from "./core/cohorts.ts";
import { IntakeWatch } from "./intake.ts";
import { type JudgedRow, judgeRows } from "./judge-rows.ts";
import type { Lane } from "./lane.ts";
import { RowQueue } from "./row-queue.ts";

const MAX_DEVICES = 2_000;
const MAX_QUEUED_ROWS = 10_000;
/** About 100 bytes each. */
const MAX_QUEUED_VALUES = 200_000;
const BATCH_ROWS = 1_000;
/** Beyond it what comes stays with the brokers: to read it would leave no time to judge what waits. */
const CALM_ROWS = 2 * BATCH_ROWS;

export interface JudgingDeps {
  readonly cohorts: ReadonlyMap<CohortId, Cohort>;
  readonly rules: readonly CohortRule[];
  readonly lane: Lane;
  readonly steadyMs: () => number;
  readonly onJudged: (cohort: Cohort, row: JudgedRow) => void;
  readonly onRefused: (where: string, refusal: Refusal) => void;
  /** Of a row that came too late to be judged; it was refused as well. */
  readonly onLate: (cohort: Cohort, reading: Reading) => void;
  readonly onFailed: (cohort: Cohort, error: Error) => void;
  /** After each batch. */
  readonly onBatch: () => void;
}

export class Judging {
  readonly watch: IntakeWatch;
  readonly #deps: JudgingDeps;
  readonly #queue = new RowQueue(MAX_QUEUED_ROWS, MAX_QUEUED_VALUES);
  #running: Promise<void> | null = null;
  #calm = Promise.withResolvers<void>();
  #judged = 0;

  constructor(deps: JudgingDeps) {
    this.#deps = deps;
    this.watch = new IntakeWatch(deps.steadyMs);
  }

  /** Rows, since the start. */
  get judged(): number {
    return this.#judged;
  }

  get waiting(): number {
    return this.#queue.length;
  }

  /** Null: more can be taken in; else resolves when that is so. */
  whenCalm(): Promise<void> | null {
    return this.#queue.length < CALM_ROWS ? null : this.#calm.promise;
  }

  add(reading: Reading): void {
    const cohort = this.#cohortFor(reading);
    if (isRefusal(cohort)) {
      this.#deps.onRefused(reading.deviceId, cohort);
      return;
    }
    for (const { reading: dropped } of this.#queue.add({ cohort, reading })) {
      const detail = `more than ${MAX_QUEUED_ROWS} rows or ${MAX_QUEUED_VALUES} values wait to be judged`;
      this.#deps.onRefused(dropped.deviceId, { refused: "queue_full", detail });
    }
    this.watch.waiting(this.#queue.length, { judged: false });
    this.#running ??= this.#run();
  }

  /** In the lane: what waits now is judged before it resolves. */
  async judgeWaiting(): Promise<void> {
    const batches = Math.ceil(this.#queue.length / BATCH_ROWS);
    for (let batch = 0; batch < batches; batch++) await this.#judgeBatch();
  }

  /** Resolves when nothing is being judged any more. */
  async idle(): Promise<void> {
    await this.#running;
  }

  /** What waits is not judged any more. */
  drop(): void {
    this.#queue.take(MAX_QUEUED_ROWS);
    this.#letIn();
  }

  async #run(): Promise<void> {
    while (this.#queue.length > 0) {
      await nextTurn(); // lets a burst of messages become one batch
      await this.#deps.lane.run(() => this.#judgeBatch());
      this.#deps.onBatch();
    }
    this.#running = null;
  }

  async #judgeBatch(): Promise<void> {
    for (const [cohort, readings] of this.#queue.take(BATCH_ROWS)) {
      await this.#judge(cohort, readings).catch((error: Error) => this.#deps.onFailed(cohort, error));
    }
    this.watch.waiting(this.#queue.length, { judged: true });
    if (this.#queue.length < CALM_ROWS) this.#letIn();
  }

  #letIn(): void {
    this.#calm.resolve();
    this.#calm = Promise.withResolvers();
  }

  async #judge(cohort: Cohort, readings: readonly Reading[]): Promise<void> {
    const { onRefused, onLate, onJudged } = this.#deps;
    const judged = await judgeRows(cohort, this.#served(cohort, readings), (reading, refusal) => {
      onRefused(reading.deviceId, refusal);
      if (refusal.refused === "out_of_order") onLate(cohort, reading);
    });
    this.#judged += judged.length;
    for (const row of judged) onJudged(cohort, row);
  }

  #cohortFor({ deviceId }: Reading): Cohort | Refusal {
    const id = cohortOf(deviceId, this.#deps.rules);
    const cohort = id === null ? undefined : this.#deps.cohorts.get(id);
    return cohort ?? { refused: "no_cohort", detail: "no rule of FLEAD_COHORTS matches the device" };
  }

  /** Without those of devices that there is no room for: a flood of names, which a burst of messages may hold, is capped. */
  #served(cohort: Cohort, readings: readonly Reading[]): Reading[] {
    const { cohorts, onRefused } = this.#deps;
    const room = MAX_DEVICES - deviceCount(cohorts);
    const unknown = new Set<DeviceId>();
    return readings.filter(({ deviceId }) => {
      if (cohort.devices.has(deviceId)) return true;
      if (unknown.size < room) unknown.add(deviceId);
      if (unknown.has(deviceId)) return true;
      onRefused(deviceId, { refused: "device_limit", detail: `a gateway serves at most ${MAX_DEVICES} devices` });
      return false;
    });
  }
}

export function deviceCount(cohorts: ReadonlyMap<CohortId, Cohort>): number {
  let count = 0;
  for (const { devices } of cohorts.values()) count += devices.size;
  return count;
}
