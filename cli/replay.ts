// `flead replay`: publishes labelled recordings as devices' rows over MQTT; labels stay in the file unless asked for.
import { readFile } from "node:fs/promises";
import { basename } from "node:path";
import { Command, InvalidArgumentError } from "commander";
import { connectAsync, type MqttClient } from "mqtt";
import { deviceId } from "../learning/ids.ts";
import { type LabelledCsv, parseLabelledCsv } from "../runtime/labelled-csv.ts";
import { pause } from "../runtime/retry.ts";
import { aborted, shutdownSignal } from "../runtime/shutdown.ts";
import { UsageError, wholeNumber } from "./usage.ts";

interface ReplayOptions {
  readonly mqtt: string;
  readonly site: string;
  readonly device?: string;
  readonly speed: number;
  readonly rows?: number;
  readonly labels?: boolean;
}

interface Recording {
  readonly device: string;
  readonly csv: LabelledCsv;
}

const CONNECT_TIMEOUT_MS = 10_000;
/** Rows of a recording without times are this far apart. */
const ROW_MS = 1_000;

export function replayCommand(): Command {
  return new Command("replay")
    .description(
      "Publish labelled CSV recordings over MQTT, each as one device's rows (device name = file name).\n" +
        "Columns: a time (datetime, timestamp or time, optional), channels, a label (anomaly, label or is_anomaly;\n" +
        "published with --labels only), and what never is: changepoint, fault.",
    )
    .argument("<csv...>", "recordings; with several, all are played at once, each as its own device")
    .option("--mqtt <url>", "the broker", process.env.FLEAD_MQTT_URL ?? "mqtt://127.0.0.1:1883")
    .option("--site <id>", "site in the topic flead/v1/<site>/<device>/telemetry", process.env.FLEAD_SITE ?? "site")
    .option("--device <id>", "device name, for a single recording")
    .option("--speed <factor>", "times the recorded speed, or max", speed, 1)
    .option("--rows <n>", "only the first n rows", wholeNumber(1, 1e9))
    .option(
      "--labels",
      "publish each row's label with it. Warning: agents see it then, and a plan that learns from labels trains on it;\n" +
        "not for recordings that are to judge a model",
    )
    .action(replay);
}

function speed(text: string): number {
  const factor = text === "max" ? Number.POSITIVE_INFINITY : Number(text);
  if (factor > 0) return factor;
  throw new InvalidArgumentError("It must be a number above 0, or max.");
}

async function replay(files: string[], options: ReplayOptions): Promise<void> {
  if (options.device !== undefined && files.length > 1)
    throw new UsageError("--device names one device, but several files are given");
  const site = deviceId(options.site);
  const recordings = await Promise.all(files.map((file) => readRecording(file, options)));
  const twice = recordings.find(
    ({ device }, index) => recordings.findIndex((other) => other.device === device) < index,
  );
  if (twice)
    throw new UsageError(
      `two recordings would be device ${twice.device}: play them one after the other, or rename one`,
    );
  const stop = shutdownSignal();
  const client = await connectAsync(options.mqtt, { connectTimeout: CONNECT_TIMEOUT_MS, reconnectPeriod: 0 }).catch(
    (cause) => {
      throw new Error(`no broker answers at ${withoutPassword(options.mqtt)}`, { cause });
    },
  );
  try {
    const lost = new Promise<never>((_, reject) =>
      client.on("close", () => reject(new Error("the broker closed the connection"))),
    );
    const played = Promise.all(
      recordings.map((recording) =>
        play(client, `flead/v1/${site}/${recording.device}/telemetry`, recording.csv, options.speed, stop),
      ),
    );
    const counts = await Promise.race([played, lost, aborted(stop).then(() => played)]);
    counts.forEach((count, index) => {
      process.stdout.write(`${recordings[index]?.device}: ${count} rows published\n`);
    });
  } finally {
    client.removeAllListeners("close");
    await client.endAsync(stop.aborted);
  }
}

async function readRecording(file: string, options: ReplayOptions): Promise<Recording> {
  try {
    const csv = parseLabelledCsv(await readFile(file, "utf8"));
    const rows = csv.rows.slice(0, options.rows);
    if (rows.length === 0) throw new Error("it holds no row");
    if (options.labels && csv.labels === null) throw new Error("it has no column anomaly, label or is_anomaly");
    const labels = options.labels ? csv.labels : null;
    return { device: deviceId(options.device ?? basename(file).replace(/\.csv$/i, "")), csv: { ...csv, rows, labels } };
  } catch (cause) {
    throw new Error(`recording ${file}`, { cause });
  }
}

/**
 * Publishes with QoS 1, one row after the other, so that the broker's pace is the limit; with each row its label, unless
 * there are none. Resolves to the rows published.
 */
async function play(
  client: MqttClient,
  topic: string,
  csv: LabelledCsv,
  factor: number,
  stop: AbortSignal,
): Promise<number> {
  const startedMs = performance.now();
  const at = (index: number) => csv.atMs?.[index] ?? index * ROW_MS;
  const baseMs = csv.atMs === null ? Date.now() : 0;
  let published = 0;
  for (const row of csv.rows) {
    const dueMs = startedMs + (at(published) - at(0)) / factor;
    if (dueMs > performance.now()) await pause(dueMs - performance.now(), stop);
    if (stop.aborted) break;
    const telemetry = Object.fromEntries(csv.channels.map((channel, column) => [channel, { value: row[column] }]));
    const timestamp = new Date(baseMs + at(published)).toISOString();
    const said =
      csv.labels === null ? { timestamp, telemetry } : { timestamp, telemetry, label: csv.labels[published] };
    await client.publishAsync(topic, JSON.stringify(said), { qos: 1 });
    published++;
  }
  return published;
}

function withoutPassword(url: string): string {
  return url.replace(/\/\/[^@/]*@/, "//");
}
