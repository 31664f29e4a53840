// `flead agent discover`: listens to a broker for a while and proposes a mapping for what it heard.
import { Command } from "commander";
import type { Proposal } from "../agent/core/mapping/discovery.ts";
import { aborted, shutdownSignal } from "../runtime/shutdown.ts";
import { UsageError, wholeNumber } from "./usage.ts";

interface DiscoverOptions {
  readonly broker: string;
  readonly seconds: number;
  readonly topic: string;
  readonly protocol?: string;
  readonly userFile?: string;
  readonly passwordFile?: string;
  readonly caFile?: string;
  readonly certificateFile?: string;
  readonly keyFile?: string;
  readonly serverName?: string;
}

const PROGRESS_MS = 1_000;

export function agentDiscoverCommand(): Command {
  return new Command("discover")
    .description(
      "Listen to a broker and print a mapping for what was heard: a draft to go on with. It reads only, and publishes nothing.",
    )
    .option("--broker <url>", "the broker, as mqtt://host:port", process.env.FLEAD_MQTT_URL ?? "mqtt://127.0.0.1:1883")
    .option("--seconds <n>", "how long to listen; Ctrl-C ends it earlier", wholeNumber(1, 86_400), 60)
    .option("--topic <filter>", "which topics, such as plant/+/#", "#")
    .option("--protocol <version>", "3.1.1 or 5")
    .option("--user-file <file>", "file with the user's name")
    .option("--password-file <file>", "file with the password")
    .option("--ca-file <file>", "certificates that may sign the broker's")
    .option("--certificate-file <file>", "own certificate")
    .option("--key-file <file>", "its key")
    .option("--server-name <name>", "name that the broker's certificate has")
    .action(discover)
    .exitOverride();
}

async function discover({ broker: url, seconds, topic, protocol, ...files }: DiscoverOptions): Promise<void> {
  const { brokerAddress } = await import("../agent/adapters/broker-options.ts");
  const { parseBroker, parseMappingFile, presetRoutes } = await import("../agent/adapters/mapping-file.ts");
  const { Discovery } = await import("../agent/core/mapping/discovery.ts");
  const filter = await topicFilter(topic);
  const said = {
    name: "site",
    url,
    ...(protocol !== undefined && { protocol: protocol === "5" ? 5 : protocol }),
    ...files,
  };
  const address = await brokerAddress(parseBroker(said), ".", `flead-discover-${process.pid}`);
  const discovery = new Discovery(presetRoutes());
  const { MqttBroker } = await import("../agent/adapters/mqtt.ts");
  const stop = AbortSignal.any([shutdownSignal(), AbortSignal.timeout(seconds * 1000)]);
  const failure = Promise.withResolvers<never>();
  let connected = false;
  const broker = new MqttBroker(
    { address, topics: [{ filter, qos: 0 }], will: null, nowMs: Date.now },
    {
      onMessage: (message) => discovery.hear(message),
      whenCalm: () => null,
      onConnect: () => {
        connected = true;
        process.stderr.write(`Listening to ${filter} for ${seconds} s …\n`);
      },
      onProblem: (_, what) => {
        if (connected) process.stderr.write(`${what}\n`);
        else failure.reject(new Error(`the broker at ${url} can't be used: ${what}`));
      },
    },
  );
  let told = 0;
  const progress = setInterval(() => {
    if (discovery.messages > told) process.stderr.write(`${discovery.messages} messages\n`);
    told = discovery.messages;
  }, PROGRESS_MS);
  try {
    await Promise.race([aborted(stop), failure.promise]);
  } finally {
    clearInterval(progress);
    await broker.close();
  }
  const { proposals, leftovers } = discovery.propose();
  for (const { topics, example, why } of leftovers)
    process.stderr.write(`not proposed: ${topics} ${example === "" ? "" : `topics as ${example}, `}${why}\n`);
  if (proposals.length === 0)
    throw new Error(
      `nothing to propose of ${discovery.messages} messages; listen for longer (--seconds), to other topics (--topic), or as a user who may read them`,
    );
  const text = await mappingText(said, proposals);
  parseMappingFile(text); // a draft that the agent would refuse is none
  process.stdout.write(text);
}

/** As a mapping's topics are: a named segment stands for any one level. */
async function topicFilter(text: string): Promise<string> {
  const { parseTopic } = await import("../agent/core/mapping/topic-pattern.ts");
  try {
    return parseTopic(text).filter;
  } catch (cause) {
    throw new UsageError(`--topic ${JSON.stringify(text.slice(0, 80))}: ${(cause as Error).message}`, { cause });
  }
}

async function mappingText(broker: object, proposals: readonly Proposal[]): Promise<string> {
  const { Document, isMap, isSeq } = await import("yaml");
  const subscriptions = proposals.map(({ subscription }) => subscription);
  const document = new Document({ brokers: [broker], subscriptions });
  document.commentBefore = " A draft: check devices, channels and units, and try messages with `flead agent check`.";
  const list = document.get("subscriptions");
  if (isSeq(list)) {
    for (const [index, item] of list.items.entries()) {
      const comment = proposals[index]?.comment.split("\n").map((line) => ` ${printable(line)}`);
      if (isMap(item) && comment !== undefined) item.commentBefore = comment.join("\n");
    }
  }
  return document.toString({ lineWidth: 120 });
}

/** Topics come from anybody: no control character of theirs reaches a terminal or ends a comment. */
const printable = (line: string) => line.replace(/\p{C}/gu, "�").slice(0, 200);
