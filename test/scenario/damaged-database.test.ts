// The agent's database rots on its card: it is set aside, told of, and the agent goes on with a new one.
import { closeSync, openSync, readdirSync, statSync, writeSync } from "node:fs";
import { dirname } from "node:path";
import { expect, test } from "vitest";
import { debianProgram } from "../support/debian-program.ts";
import { eventually } from "../support/eventually.ts";
import { type LearningGateway, openLearningGateway } from "../support/learning-gateway.ts";
import { BASE, SiteClient } from "../support/mosquitto-site.ts";

const mosquitto = debianProgram("mosquitto");

/** The middle third of the file is noise. */
function damage(file: string): void {
  const bytes = Math.floor(statSync(file).size / 3);
  const pages = openSync(file, "r+");
  writeSync(pages, Buffer.alloc(bytes, 7), 0, bytes, bytes);
  closeSync(pages);
}

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
    damage(file);

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
