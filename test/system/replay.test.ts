import { execFile, spawn } from "node:child_process";
import { copyFileSync, existsSync, mkdirSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { createInterface } from "node:readline";
import { promisify } from "node:util";
import { afterAll, beforeAll, describe, expect, onTestFailed, test } from "vitest";
import { type Program, startProgram } from "../../cli/demo/processes.ts";
import { readTelemetry } from "../../learning/telemetry/default-mapping.ts";
import { packageRoot } from "../../runtime/package-root.ts";
import { debianProgram } from "../support/debian-program.ts";
import { eventually } from "../support/eventually.ts";
import { ended, type Mosquitto, startMosquitto } from "../support/mosquitto.ts";
import { temporaryFolder } from "../support/temp.ts";

const run = promisify(execFile);
const flead = join(packageRoot, "dist/cli/flead.js");
const skab = join(packageRoot, "../shared/data/skab");
const broker = debianProgram("mosquitto");
const subscriber = debianProgram("mosquitto_sub");
const hasData = existsSync(join(skab, "valve1/8.csv"));
const folder = temporaryFolder("replay");

/** Row times between which the recording's label says 1. */
const VALVE = { closes: "2020-03-09T13:04:38", opens: "2020-03-09T13:11:38" };

/** Runs `flead replay` to its end. */
const replay = (...args: string[]) => run(process.execPath, [flead, "replay", ...args], { timeout: 180_000 });

/** An outside listener: every message on the topic filters, as mosquitto_sub prints it. */
function listen(program: string, port: number, ...filters: string[]) {
  const topics = filters.flatMap((filter) => ["-t", filter]);
  const child = spawn(program, ["-h", "127.0.0.1", "-p", String(port), ...topics, "-q", "1", "-F", "%t %r %p"]);
  const heard: { topic: string; retained: boolean; payload: string }[] = [];
  createInterface({ input: child.stdout }).on("line", (line) => {
    const [topic = "", retained, ...payload] = line.split(" ");
    heard.push({ topic, retained: retained === "1", payload: payload.join(" ") });
  });
  return { heard, stop: () => ended(child) };
}

describe.skipIf(broker === null || subscriber === null)(
  "flead replay (needs Debian's mosquitto and mosquitto-clients)",
  () => {
    let mosquitto: Mosquitto;
    const programs: Program[] = [];

    beforeAll(async () => {
      mosquitto = await startMosquitto(broker as string, folder);
    });

    afterAll(async () => {
      await Promise.all(programs.map((program) => program.stop()));
      await mosquitto.stop();
    });

    test("every row arrives in order with its time and channels, and no label, change point or fault among them", async () => {
      const file = join(folder, "pump.csv");
      const rows = Array.from(
        { length: 50 },
        (_, i) => `2026-01-01 00:00:${String(i).padStart(2, "0")};${i};${i / 2};${i % 2};0`,
      );
      writeFileSync(file, ["datetime;flow;Volume Flow RateRMS;anomaly;changepoint", ...rows].join("\n"));
      const listener = listen(subscriber as string, mosquitto.port, "flead/v1/plain/#");
      await eventually("the listener is there", async () => {
        await replay(
          file,
          "--mqtt",
          mosquitto.url,
          "--site",
          "plain",
          "--device",
          "probe",
          "--speed",
          "max",
          "--rows",
          "1",
        );
        return listener.heard.length > 0 || undefined;
      });
      const { stdout } = await replay(file, "--mqtt", mosquitto.url, "--site", "plain", "--speed", "max");
      expect(stdout).toBe("pump: 50 rows published\n");
      const heard = await eventually("fifty rows", () => {
        const ofPump = listener.heard.filter(({ topic }) => topic === "flead/v1/plain/pump/telemetry");
        return ofPump.length >= 50 ? ofPump : undefined;
      });
      await listener.stop();
      expect(heard.map(({ payload }) => JSON.parse(payload))).toEqual(
        rows.map((_, i) => ({
          timestamp: new Date(Date.UTC(2026, 0, 1, 0, 0, i)).toISOString(),
          telemetry: { flow: { value: i }, "Volume Flow RateRMS": { value: i / 2 } },
        })),
      );
    });

    test("with --labels each row carries its label, as the agent reads it", async () => {
      const file = join(folder, "valve.csv");
      writeFileSync(file, "timestamp,flow,is_anomaly,fault\n100,1,0,2\n101,2,1,2\n102,3,0,2\n");
      const listener = listen(subscriber as string, mosquitto.port, "flead/v1/labelled/#");
      const options = ["--mqtt", mosquitto.url, "--site", "labelled", "--speed", "max", "--labels"];
      await eventually("the listener is there", async () => {
        await replay(file, ...options, "--device", "probe", "--rows", "1");
        return listener.heard.length > 0 || undefined;
      });
      await replay(file, ...options);
      const ofValve = await eventually("three rows", () => {
        const heard = listener.heard.filter(({ topic }) => topic === "flead/v1/labelled/valve/telemetry");
        return heard.length >= 3 ? heard : undefined;
      });
      await listener.stop();
      const readings = ofValve.map(({ topic, payload }) =>
        readTelemetry({ topic, payload: Buffer.from(payload), retained: false, receivedAtMs: 0 }),
      );
      expect(readings).toMatchObject([
        { deviceId: "valve", atMs: 100_000, values: new Map([["flow", 1]]), label: 0 },
        { deviceId: "valve", atMs: 101_000, values: new Map([["flow", 2]]), label: 1 },
        { deviceId: "valve", atMs: 102_000, values: new Map([["flow", 3]]), label: 0 },
      ]);
    });

    test.each([
      ["a file that is not there", ["nowhere.csv"], 1, "recording nowhere.csv"],
      ["a broken row", ["broken.csv"], 1, 'line 3: flow is "x", not a finite number'],
      [
        "a label asked for where there is none",
        ["bare.csv", "--labels"],
        1,
        "it has no column anomaly, label or is_anomaly",
      ],
      ["a speed of zero", ["pump.csv", "--speed", "0"], 2, "It must be a number above 0, or max."],
      ["one device name for two files", ["pump.csv", "pump.csv", "--device", "d"], 2, "--device names one device"],
      [
        "a broker that is not there",
        ["pump.csv", "--mqtt", "mqtt://127.0.0.1:1"],
        1,
        "no broker answers at mqtt://127.0.0.1:1",
      ],
    ])("%s is an error that says what to do", async (_, args, code, message) => {
      writeFileSync(join(folder, "broken.csv"), "flow,anomaly\n1,0\nx,0\n");
      writeFileSync(join(folder, "pump.csv"), "flow,anomaly\n1,0\n");
      writeFileSync(join(folder, "bare.csv"), "flow\n1\n");
      const failure = await run(process.execPath, [flead, "replay", "--mqtt", mosquitto.url, ...args], {
        cwd: folder,
      }).catch((e) => e);
      expect(failure).toMatchObject({ code, stderr: expect.stringContaining(message) });
    });

    test.skipIf(!hasData)(
      "real SKAB rows train the fleet, held-out runs judge it, and alerts reach an outside listener (needs ../shared/data)",
      async () => {
        const heldOut = join(folder, "held-out/skab");
        mkdirSync(heldOut, { recursive: true });
        for (const name of ["12", "13", "14", "15"])
          copyFileSync(join(skab, `valve1/${name}.csv`), join(heldOut, `${name}.csv`));
        const coordinator = await startProgram(
          "coordinator",
          [
            "coordinator",
            "--plan",
            join(packageRoot, "plans/skab.yaml"),
            "--held-out",
            join(folder, "held-out"),
            "--data-dir",
            join(folder, "c"),
          ],
          { FLEAD_GRPC_ADDRESS: "127.0.0.1:0", FLEAD_HTTP_ADDRESS: "127.0.0.1:0" },
          join(folder, "coordinator.log"),
        );
        programs.push(coordinator);
        const gateways = await Promise.all(
          ["a", "b"].map((name) =>
            startProgram(
              `gw-${name}`,
              [
                "agent",
                "--gateway-id",
                `gw-${name}`,
                "--site",
                `lab-${name}`,
                "--mqtt",
                mosquitto.url,
                "--cohorts",
                "skab=*",
              ],
              { FLEAD_COORDINATOR: coordinator.ready.grpc ?? "", FLEAD_DATA_DIR: join(folder, name) },
              join(folder, `${name}.log`),
            ),
          ),
        );
        programs.push(...gateways);
        const topics = ["event/#", "model/activated", "status"].map((what) => `flead/v1/+/+/${what}`);
        const listener = listen(subscriber as string, mosquitto.port, ...topics);
        const told = (topic: string) =>
          listener.heard.filter((heard) => heard.topic === topic).map(({ payload }) => JSON.parse(payload));
        await eventually("the listener is there", () => listener.heard.length > 0 || undefined); // a status is retained
        const rest = ["--mqtt", mosquitto.url, "--speed"];
        const heads = ["1", "2", "3", "4"].map((name) => join(skab, `valve1/${name}.csv`));
        await Promise.all([
          replay(join(skab, "anomaly-free/anomaly-free.csv"), "--site", "lab-a", "--rows", "3000", ...rest, "150"),
          // As long as the other, so that both gateways have a part in several rounds.
          replay(...heads, "--site", "lab-b", "--rows", "550", ...rest, "28"),
        ]);
        const rounds = await eventually("two rounds are judged on held-out runs", async () => {
          const response = await fetch(new URL("/api/v1/rounds", coordinator.ready.url));
          const { items } = (await response.json()) as {
            items: { globalVersion: number; verdict: string; gateways: number; heldOut: { n: number; f1: number } }[];
          };
          return items.length >= 2 ? items : undefined;
        });
        for (const { verdict, gateways: from, heldOut: scores } of rounds) {
          expect(["promoted", "rejected"]).toContain(verdict);
          expect(from).toBe(2);
          expect(scores.n).toBeGreaterThan(2500);
        }
        expect(new Set(rounds.map(({ heldOut: scores }) => scores.f1)).size).toBe(rounds.length);

        const promoted = rounds.filter(({ verdict }) => verdict === "promoted");
        const champion = Math.max(...promoted.map(({ globalVersion }) => globalVersion));
        await eventually("the champion serves at the gateway", () =>
          told("flead/v1/lab-b/gw-b/model/activated").find(({ data }) => data.global_version >= champion),
        );

        // One run with its valve closing, label unpublished: the champion has to find it.
        await replay(join(skab, "valve1/8.csv"), "--site", "lab-b", ...rest, "150");

        // A false alarm on healthy rows before may still be up or its cooldown run: which champion this is depends on when
        // which update came. So the valve's own alert is the one that tells of a score well above every healthy row's.
        const events = () => told("flead/v1/lab-b/gw-b/event/8/federated");
        onTestFailed(() => {
          for (const { type, time, data } of events())
            console.error(type, time, data.model, data.score, data.threshold);
          console.error(JSON.stringify(rounds));
        });
        const alert = await eventually("the closing valve makes an alert", () => {
          const healthy = events().filter(({ time }) => time < VALVE.closes);
          const before = Math.max(0, ...healthy.map(({ data }) => data.score));
          return events().find(
            ({ time, data }) =>
              time >= VALVE.closes && time < VALVE.opens && data.score > Math.max(1.2 * before, data.threshold),
          );
        });
        await listener.stop();
        expect(alert).toMatchObject({
          specversion: "1.0",
          source: "/lab-b/gw-b/8",
          data: {
            state: "active",
            contributors: expect.any(Array),
            model: { kind: "federated" },
          },
        });
      },
    );
  },
);
