// An agent that is killed over and over, at moments drawn by lot: none of its updates is lost, and none counts twice.
import { setTimeout as after } from "node:timers/promises";
import { isDeepStrictEqual } from "node:util";
import { expect, onTestFailed, test } from "vitest";
import { seededRandom } from "../../learning/random.ts";
import { type Update, UpdateStatus } from "../../proto/gen/flead/v1/federation.ts";
import { debianProgram } from "../support/debian-program.ts";
import { eventually } from "../support/eventually.ts";
import { journalOutbox, readAgent } from "../support/fleet-ledger.ts";
import { openLearningGateway } from "../support/learning-gateway.ts";

const KILLS = 50;
const MOMENTS = ["while it starts", "before an answer", "with an answer", "while it works"] as const;
/** FLEAD_CRASH_SEED repeats the kills of a failed run, as far as two runs meet the same moments. */
const seed = Number(process.env.FLEAD_CRASH_SEED ?? Date.now() % 1_000_000);

const mosquitto = debianProgram("mosquitto");

/** What a coordinator that counts an update once by its id has counted. */
class Counted {
  readonly byId = new Map<string, Update>();
  sentAgain = 0;
  /** Ids of updates that were not what they had been when they came again. */
  readonly changed: string[] = [];

  take(update: Update): void {
    const known = this.byId.get(update.updateId);
    if (known === undefined) this.byId.set(update.updateId, update);
    else {
      this.sentAgain++;
      if (!isDeepStrictEqual(update, known)) this.changed.push(update.updateId);
    }
  }

  samples(): number {
    return [...this.byId.values()].reduce((sum, { samples }) => sum + Number(samples), 0);
  }
}

test.skipIf(mosquitto === null)(
  `of ${KILLS} kills none loses or doubles an update (needs Debian's mosquitto)`,
  async () => {
    const random = seededRandom(seed);
    const upTo = (most: number) => 1 + Math.floor(random.next() * most);
    const done: string[] = [`seed ${seed}`];
    onTestFailed(() => void process.stderr.write(`${done.join("\n")}\n`));

    const gateway = await openLearningGateway(mosquitto as string);
    const { coordinator, file } = gateway;
    const counted = new Counted();
    let onUpdate = (): boolean => true;
    coordinator.answerTo = (update) => {
      counted.take(update);
      return onUpdate() ? { status: UpdateStatus.ACCEPTED } : null;
    };
    let life = gateway.start();
    await life.ready;
    journalOutbox(file);
    const stopPlant = gateway.startPlant();
    await eventually("the first update", () => (counted.byId.size > 0 ? true : undefined));

    for (let kill = 0; kill < KILLS; kill++) {
      const moment = MOMENTS[kill % MOMENTS.length] as (typeof MOMENTS)[number];
      let alive: boolean | null = null;
      const end = () => {
        done.push(`killed ${moment}`);
        alive = life.kill();
      };
      if (moment === "while it starts") await after(upTo(1_500)).then(end);
      else if (moment === "while it works") await life.ready.then(() => after(upTo(300))).then(end);
      else {
        let updates = upTo(30);
        onUpdate = () => {
          if (--updates !== 0) return updates > 0;
          end();
          return moment === "with an answer";
        };
      }
      await life.ended;
      onUpdate = () => true;
      expect(alive, `it ran until it was killed ${moment}`).toBe(true);
      life = gateway.start();
    }
    await life.ready;
    await stopPlant();
    const isSettled = () => {
      const { waiting, samplesTrained } = readAgent(file);
      return waiting.length === 0 && samplesTrained === counted.samples();
    };
    await eventually("every update is answered", () => isSettled() || undefined).catch(() => undefined);

    const { trained, waiting, updatesTrained, samplesTrained, dropped } = readAgent(file);
    expect(waiting, "wait for an answer").toEqual([]);
    expect(dropped).toBe(0);
    const ids = trained.map(({ updateId }) => updateId as string);
    expect(updatesTrained).toBe(ids.length);
    expect([...counted.byId.keys()].sort(), "update ids, each trained once").toEqual(ids.sort());
    expect(counted.changed).toEqual([]);
    expect(counted.samples(), "samples").toBe(samplesTrained);
    expect(samplesTrained, "no row is learned from twice").toBeLessThanOrEqual(gateway.rowsSaid());
    expect(counted.sentAgain, "updates whose answer was lost with the agent").toBeGreaterThan(0);
  },
);
