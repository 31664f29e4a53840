// One gateway as a process of its own that a test may kill, with mosquitto, a coordinator that a test scripts, and a plant.
import { mkdirSync } from "node:fs";
import { join } from "node:path";
import { onTestFinished } from "vitest";
import { publishPlant } from "../../cli/demo/plant-publisher.ts";
import { freePort, startMosquitto } from "./mosquitto.ts";
import { pumpPlan } from "./plan-settings.ts";
import { Life, STRETCH_ROWS, steadyPump } from "./process-fleet.ts";
import { globalModel, planChanged, ScriptedCoordinator, testPlan } from "./scripted-coordinator.ts";
import { temporaryFolder } from "./temp.ts";

const COHORT = "pumps";
const PLAN = testPlan({
  ...pumpPlan,
  commissioningRows: STRETCH_ROWS,
  training: { ...pumpPlan.training, batchRows: 20, triggerRows: 20, triggerMs: 3_600_000 },
});
const PUMPS = ["pump-1", "pump-2"];
/** Plant seconds a second: rows come as fast as the plant can publish them. */
const PLANT_SPEED = 200;

export interface LearningGateway {
  readonly file: string;
  readonly brokerUrl: string;
  readonly httpPort: number;
  readonly coordinator: ScriptedCoordinator;
  /** Rows that the plant said so far. */
  readonly rowsSaid: () => number;
  start(): Life;
  /** Every pump says its rows, of which all are learned from; the function returned ends that. */
  startPlant(): () => Promise<void>;
}

/** Gateway gw-1 at hall-1, not started; `dataDir`: where there is one already; `others`: the cohort of all other devices. */
export async function openLearningGateway(
  mosquitto: string,
  { dataDir = newDataDir(), others = null as string | null } = {},
): Promise<LearningGateway> {
  const folder = temporaryFolder("learning-gateway");
  const broker = await startMosquitto(mosquitto, folder);
  onTestFinished(() => broker.stop());
  const coordinator = await ScriptedCoordinator.start();
  onTestFinished(() => coordinator.close());
  coordinator.hold(PLAN);
  coordinator.greeting = [planChanged(COHORT, PLAN), globalModel(COHORT, PLAN)];
  const httpPort = await freePort();
  const pumps = PUMPS.map((device, index) => ({ device, site: "hall-1", pump: steadyPump(index) }));
  let rows = 0;
  return {
    file: join(dataDir, "agent.sqlite"),
    brokerUrl: broker.url,
    httpPort,
    coordinator,
    rowsSaid: () => rows,
    start: () => {
      const variables = {
        FLEAD_GATEWAY_ID: "gw-1",
        FLEAD_SITE: "hall-1",
        FLEAD_MQTT_URL: broker.url,
        FLEAD_COORDINATOR: `127.0.0.1:${coordinator.port}`,
        FLEAD_DATA_DIR: dataDir,
        FLEAD_COHORTS: [`${COHORT}=pump-*`, ...(others === null ? [] : [`${others}=*`])].join(";"),
        FLEAD_AGENT_HTTP: `127.0.0.1:${httpPort}`,
      };
      const life = new Life("agent", variables, join(folder, "agent.log"));
      onTestFinished(() => void life.kill());
      return life;
    },
    startPlant: () => {
      const stop = new AbortController();
      const count = () => rows++;
      const published = publishPlant(broker.url, pumps, PLANT_SPEED, count, stop.signal);
      const end = async () => {
        stop.abort();
        await published;
      };
      onTestFinished(end);
      return end;
    },
  };
}

function newDataDir(): string {
  const dataDir = join(temporaryFolder("learning-gateway-data"), "data");
  mkdirSync(dataDir);
  return dataDir;
}
