// The agent's database rots on its card: it is set aside, told of, and the agent goes on with a new one.
import { closeSync, openSync, readdirSync, statSync, writeSync } from "node:fs";
import { dirname } from "node:path";
import { expect, onTestFailed, test } from "vitest";
import { seededRandom } from "../../learning/random.ts";
import { debianProgram } from "../support/debian-program.ts";
import { eventually } from "../support/eventually.ts";
import { type LearningGateway, openLearningGateway } from "../support/learning-gateway.ts";
import { BASE, SiteClient } from "../support/mosquitto-site.ts";

const mosquitto = debianProgram("mosquitto");

/** FLEAD_CRASH_SEED repeats the bytes of a failed run, as far as two runs make the same file. */
const seed = Number(process.env.FLEAD_CRASH_SEED ?? Date.now() % 1_000_000);
const RANDOM_BYTES = 64;

function overwrite(file: string, work: (size: number, write: (bytes: Uint8Array, at: number) => void) => void): void {
  const pages = openSync(file, "r+");
  work(statSync(file).size, (bytes, at) => writeSync(pages, bytes, 0, bytes.length, at));
  closeSync(pages);
}

const middleThird = (file: string) =>
  overwrite(file, (size, write) => write(Buffer.alloc(Math.floor(size / 3), 7), Math.floor(size / 3)));

/** Bytes anywhere, in what SQLite checks and in what only the reader of a record can find. */
const randomBytes = (file: string) =>
  overwrite(file, (size, write) => {
    const random = seededRandom(seed);
    const upTo = (most: number) => Math.floor(random.next() * most);
    for (let byte = 0; byte < RANDOM_BYTES; byte++) write(Uint8Array.of(upTo(256)), upTo(size));
  });

const setAside = (file: string) => readdirSync(dirname(file)).filter((name) => /\.damaged-\d+$/.test(name));

/** New updates come, each with an id of its own. */
async function expectToLearn({ coordinator }: LearningGateway): Promise<void> {
  const before = coordinator.updates.length;
  await eventually("it learns", () => (coordinator.updates.length >= before + 3 ? true : undefined));
  const ids = coordinator.updates.map(({ updateId }) => updateId);
  expect(new Set(ids).size).toBe(ids.length);
}

test.skipIf(mosquitto === null)(
  "a database with bytes overwritten in its middle is set aside, counted, reported, and the agent learns on (needs Debian's mosquitto)",
  async () => {
    const gateway = await openLearningGateway(mosquitto as string);
    const { coordinator, file, brokerUrl, httpPort } = gateway;
    const client = await SiteClient.open(brokerUrl, [`${BASE}/status`]);
    const first = gateway.start();
    await first.ready;
    gateway.startPlant();
    await expectToLearn(gateway);
    await first.stop();
    middleThird(file);

    const metrics = async () => (await fetch(`http://127.0.0.1:${httpPort}/metrics`)).text();
    for (const start of ["with the damaged file", "with the new one"]) {
      const said = coordinator.said("report").length;
      const life = gateway.start();
      await life.ready;
      expect(setAside(file), start).toHaveLength(1);
      await eventually(
        "its figures",
        async () => /^flead_agent_quarantined_files_total 1$/m.test(await metrics()) || undefined,
      );
      const { health } = await eventually("a report", () => coordinator.said("report")[said]);
      expect(health?.quarantinedFiles).toBe(1n);
      await eventually("its status", () => {
        const { data } = JSON.parse(client.on(`${BASE}/status`).at(-1)?.text ?? "{}");
        return data?.state === "online" && data.store.quarantined_files === 1 ? true : undefined;
      });
      await expectToLearn(gateway);
      await life.stop();
    }
  },
);

test.skipIf(mosquitto === null)(
  `with ${RANDOM_BYTES} random bytes of its database overwritten an agent starts and learns on (needs Debian's mosquitto)`,
  async () => {
    onTestFailed(() => void process.stderr.write(`seed ${seed}\n`));
    const gateway = await openLearningGateway(mosquitto as string);
    const first = gateway.start();
    await first.ready;
    gateway.startPlant();
    await expectToLearn(gateway);
    await first.stop();
    randomBytes(gateway.file);
    // What it finds while it works ends it; the start after that sets the file aside.
    let life = gateway.start();
    const learns = expectToLearn(gateway);
    for (
      let starts = 1;
      starts < 3 && (await Promise.race([learns.then(() => "learns"), life.ended])) !== "learns";
      starts++
    )
      life = gateway.start();
    await learns;
    expect(setAside(gateway.file).length).toBeLessThanOrEqual(1);
    await life.stop();
  },
);
