// Others fill the gateway's disk: rows are judged and alerts told all the same, and what could not be kept is said; with
// the room all of it comes back, without a restart.
import { rmSync } from "node:fs";
import { join } from "node:path";
import { expect, test } from "vitest";
import { UpdateStatus } from "../../proto/gen/flead/v1/federation.ts";
import { debianProgram } from "../support/debian-program.ts";
import { eventually } from "../support/eventually.ts";
import { openLearningGateway } from "../support/learning-gateway.ts";
import { BASE, Pump, SiteClient } from "../support/mosquitto-site.ts";
import { fillUp, smallDisk } from "../support/small-disk.ts";
import { temporaryFolder } from "../support/temp.ts";

const mosquitto = debianProgram("mosquitto");
/** Room for the database, its journal and the ballast, and little more. */
const DISK_BYTES = 32 * 1024 * 1024;
/** A training that failed for want of room is tried again after a minute. */
const RECOVERY_MS = 180_000;
const EVENTS = `${BASE}/event/probe/z_score`;

test.skipIf(mosquitto === null)(
  "on a full disk alerts go on, what is not kept is said, and it is kept again with the room (needs Debian's mosquitto)",
  async (context) => {
    const disk = smallDisk(join(temporaryFolder("disk-full"), "data"), DISK_BYTES);
    if (disk === null) return context.skip("mounting a small disk takes root");
    const gateway = await openLearningGateway(mosquitto as string, { dataDir: disk, others: "default" });
    const { coordinator, httpPort, brokerUrl } = gateway;
    const client = await SiteClient.open(brokerUrl, [`${BASE}/#`]);
    const ask = async (path: string) => (await fetch(`http://127.0.0.1:${httpPort}${path}`)).text();
    const unwritable = async () =>
      [...(await ask("/metrics")).matchAll(/flead_agent_unwritable\{kind="(\w+)"\} 1$/gm)].map(([, kind]) => kind);
    const ids = () => coordinator.updates.map(({ updateId }) => updateId);
    const life = gateway.start();
    await life.ready;
    gateway.startPlant();
    await eventually("it learns", () => (ids().length >= 3 ? true : undefined));

    coordinator.answerTo = () => null; // so that updates wait, and need room
    const others = fillUp(disk);
    const kinds = await eventually("something can't be written", async () => {
      const found = await unwritable();
      return found.length > 0 ? found : undefined;
    });
    expect(kinds).not.toContain("alerts");
    expect(JSON.parse(await ask("/healthz"))).toMatchObject({
      ailments: [{ reason: "store_not_writable", detail: expect.stringContaining("not written: ") }],
    });
    const pump = new Pump(client, { id: "probe" });
    await pump.run(40);
    await pump.run(5, 4);
    const raised = await eventually("the alert", () => client.events(EVENTS).at(0));
    expect(raised).toMatchObject({ type: "flead.anomaly.raised.v1", data: { state: "active" } });
    await pump.run(20);
    await eventually("its end", () => client.events(EVENTS).find(({ type }) => type === "flead.anomaly.cleared.v1"));

    rmSync(others);
    coordinator.answerTo = () => ({ status: UpdateStatus.ACCEPTED });
    const before = ids().length;
    await eventually(
      "all is written again",
      async () => ((await unwritable()).length === 0 ? true : undefined),
      RECOVERY_MS,
    );
    await eventually("it learns on", () => (ids().length >= before + 3 ? true : undefined), RECOVERY_MS);
    await eventually(
      "the ballast is back",
      async () => /flead_agent_ballast 1$/m.test(await ask("/metrics")) || undefined,
    );
    expect(client.events(EVENTS).filter(({ type }) => type === "flead.anomaly.raised.v1")).toHaveLength(1);
    await life.stop();
  },
);
