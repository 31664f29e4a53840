// A reference gateway's broker, mosquitto, and the labelled rows of a pump that are said there.
import { connectAsync, type MqttClient } from "mqtt";
import { createPump, PLANT_CHANNELS, type PumpRow } from "../../cli/demo/plant.ts";
import { eventually } from "./eventually.ts";
import { type Mosquitto, startMosquitto } from "./mosquitto.ts";

const TOPIC = "lab/ref-1/rows";
const LABEL_TOPIC = "lab/ref-1/label";

export const LIVE_WINDOW_ROWS = 60;
/** As a cohort's file says it: a window is a minute, at a row a second. */
export const LIVE_STREAM = {
  device: "ref-1",
  topic: TOPIC,
  labelTopic: LABEL_TOPIC,
  windowMs: LIVE_WINDOW_ROWS * 1_000,
  latenessMs: 0,
};

export class LiveSite {
  readonly #program: string;
  readonly #folder: string;
  readonly #next: () => PumpRow;
  #broker: Mosquitto;
  #client: MqttClient;
  #subscriptions = 0;
  /** The row of the next window that has been said already: it closed the one before. */
  #ahead: PumpRow | null = null;

  static async open(program: string, folder: string, firstFaultAfterRows = 300): Promise<LiveSite> {
    const broker = await startMosquitto(program, folder);
    return new LiveSite(program, folder, broker, await connectAsync(broker.url), firstFaultAfterRows);
  }

  private constructor(
    program: string,
    folder: string,
    broker: Mosquitto,
    client: MqttClient,
    firstFaultAfterRows: number,
  ) {
    this.#program = program;
    this.#folder = folder;
    this.#broker = broker;
    this.#client = client;
    this.#listen();
    // Two hours ago, on a full minute.
    const startMs = Math.floor(Date.now() / 60_000) * 60_000 - 7_200_000;
    const pump = createPump({ seed: 3, pumpIndex: 1, startMs, firstFaultAfterRows, faultEveryRows: 100 });
    this.#next = () => pump.next();
  }

  get url(): string {
    return this.#broker.url;
  }

  /** Resolves when somebody else hears rows and labels. */
  async isHeard(): Promise<void> {
    await eventually("rows and labels are subscribed to", () => (this.#subscriptions >= 3 ? true : undefined));
  }

  /** Resolves when nobody else does: whoever comes next is not taken for one that is gone. */
  async isUnheard(): Promise<void> {
    await eventually("nothing is subscribed to", () => (this.#subscriptions === 1 ? true : undefined));
  }

  /** Rows of so many windows, each followed by its labels, and the row that closes the last one. */
  async say(windows: number, change: (row: PumpRow) => { values: Float64Array; label: 0 | 1 } = asIs): Promise<void> {
    for (let window = 0; window < windows; window++) {
      const rows = this.#ahead === null ? [] : [this.#ahead];
      while (rows.length < LIVE_WINDOW_ROWS) rows.push(this.#next());
      for (const row of rows) if (row !== this.#ahead) await this.#sayRow(row.atMs, change(row).values);
      for (const { label, fromMs, toMs } of runsOf(rows.map((row) => ({ atMs: row.atMs, label: change(row).label })))) {
        await this.#publish(LABEL_TOPIC, { label, from: fromMs, to: toMs });
      }
      this.#ahead = null;
    }
    this.#ahead = this.#next();
    await this.#sayRow(this.#ahead.atMs, change(this.#ahead).values);
  }

  /** To both topics. */
  async sayRaw(text: string): Promise<void> {
    for (const topic of [TOPIC, LABEL_TOPIC]) await this.#client.publishAsync(topic, text, { qos: 1 });
  }

  async restartBroker(): Promise<void> {
    const { port } = this.#broker;
    await this.#client.endAsync(true);
    await this.#broker.stop();
    this.#subscriptions = 0;
    this.#broker = await startMosquitto(this.#program, this.#folder, { port });
    this.#client = await connectAsync(this.#broker.url);
    this.#listen();
  }

  async close(): Promise<void> {
    await this.#client.endAsync(true);
    await this.#broker.stop();
  }

  #listen(): void {
    this.#client.on("message", (_, payload) => {
      this.#subscriptions = Number(payload.toString());
    });
    this.#client.subscribe("$SYS/broker/subscriptions/count");
  }

  #sayRow(atMs: number, values: Float64Array): Promise<void> {
    const data = Object.fromEntries(PLANT_CHANNELS.map(({ name }, channel) => [name, values[channel]]));
    return this.#publish(TOPIC, { timestamp: atMs, data });
  }

  async #publish(topic: string, body: object): Promise<void> {
    await this.#client.publishAsync(topic, JSON.stringify(body), { qos: 1 });
  }
}

const asIs = ({ values, fault }: PumpRow) => ({ values, label: fault === null ? (0 as const) : (1 as const) });

interface Run {
  readonly label: 0 | 1;
  readonly fromMs: number;
  readonly toMs: number;
}

function runsOf(rows: readonly { readonly atMs: number; readonly label: 0 | 1 }[]): Run[] {
  const runs: Run[] = [];
  for (const { atMs, label } of rows) {
    const last = runs.at(-1);
    if (last?.label === label) runs[runs.length - 1] = { ...last, toMs: atMs };
    else runs.push({ label, fromMs: atMs, toMs: atMs });
  }
  return runs;
}
