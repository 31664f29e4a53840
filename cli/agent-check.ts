// `flead agent check`: says whether a mapping file is one, and what messages become by it.
import { readFile } from "node:fs/promises";
import { Command } from "commander";
import type { Mapping } from "../agent/core/mapping/mapping.ts";
import { type Outcome, outcome, type Word } from "../agent/core/mapping/outcome.ts";
import type { Reading } from "../learning/telemetry/default-mapping.ts";
import { textTable } from "./text-table.ts";
import { UsageError } from "./usage.ts";

interface CheckOptions {
  readonly config: string;
  readonly sample?: readonly string[];
  readonly retained?: boolean;
}

export function agentCheckCommand(): Command {
  return new Command("check")
    .description(
      "Check a mapping file, and print the rows that sample messages become by it, or why they become none.\n" +
        "Exit code 1 if the file is wrong, or if a sample becomes no row.",
    )
    .requiredOption("--config <file>", "mapping file (YAML)")
    .option(
      "--sample <topic payload...>",
      "a message: its topic, and its payload as text or as @file; several after another",
    )
    .option("--retained", "the samples are retained messages")
    .action(check)
    .exitOverride();
}

async function check({ config, sample = [], retained = false }: CheckOptions): Promise<void> {
  if (sample.length % 2 !== 0) throw new UsageError("--sample takes a topic and a payload");
  const { readMappingFile } = await import("../agent/adapters/mapping-file.ts");
  const { sparkplugCodec } = await import("../agent/adapters/sparkplug-codec.ts");
  const { Mapping } = await import("../agent/core/mapping/mapping.ts");
  const { subscriptions } = await readMappingFile(config);
  if (sample.length === 0) {
    const rows = subscriptions.map(({ topic, broker = "" }, index) => [`${index}`, topic, broker]);
    process.stdout.write(`${textTable([["subscription", "topic", "broker"], ...rows])}\n`);
    return;
  }
  const mapping = new Mapping(subscriptions, sparkplugCodec);
  for (let at = 0; at < sample.length; at += 2) {
    const [topic = "", payload = ""] = sample.slice(at, at + 2);
    const bytes = payload.startsWith("@") ? await readPayload(payload.slice(1)) : Buffer.from(payload);
    const outcome = readSample(mapping, subscriptions, { topic, payload: bytes, retained });
    process.stdout.write(`${describeOutcome(topic, outcome)}\n`);
    if (outcome.readings.length + outcome.words.length === 0) process.exitCode = 1;
  }
}

async function readPayload(file: string): Promise<Buffer> {
  try {
    return await readFile(file);
  } catch (cause) {
    throw new Error(`--sample: the payload @${file} can't be read`, { cause });
  }
}

/** Of whichever broker a subscription to the topic is: a sample has none. */
function readSample(
  mapping: Mapping,
  subscriptions: readonly { readonly broker?: string }[],
  sample: { readonly topic: string; readonly payload: Uint8Array; readonly retained: boolean },
): Outcome {
  const brokers = new Set(subscriptions.map(({ broker = "" }) => broker));
  const outcomes = [...brokers].map((broker) => mapping.read({ ...sample, broker, receivedAtMs: Date.now() }));
  const isMapped = ({ refusals }: Outcome) => !refusals.some(({ refused }) => refused === "not_mapped");
  return outcomes.find(isMapped) ?? outcome({ refusals: outcomes[0]?.refusals ?? [] });
}

function describeOutcome(topic: string, { readings, refusals, words, commands, rhythm }: Outcome): string {
  const parts = rhythm !== null && rhythm.rowEveryMs !== null;
  const count = readings.length === 0 ? "no row" : readings.length === 1 ? "1 row" : `${readings.length} rows`;
  const aligned = parts ? `, of values that are aligned to a row every ${rhythm.rowEveryMs} ms` : "";
  return [
    `${topic}: ${count}${aligned}`,
    ...readings.map(describeReading),
    ...words.map((word) => `  said of ${word.deviceId}: ${describeWord(word)}`),
    ...commands.map((command) => `  published to ${command.topic}: ${command.payload.byteLength} bytes`),
    ...refusals.map(({ refused, detail }) => `  not used, ${refused}: ${detail}`),
  ].join("\n");
}

const describeWord = (word: Word) =>
  word.kind === "label" ? `label ${word.label} from now on` : word.online ? "online" : "offline";

function describeReading({ deviceId, atMs, receivedAtMs, values, units, label, labelRefusal }: Reading): string {
  const at = `${new Date(atMs).toISOString()}${atMs === receivedAtMs ? " (of arrival)" : ""}`;
  const said = label === null ? "" : `  label ${label}`;
  const rows = [...values].map(([channel, value]) => [`    ${channel}`, `${value}`, units.get(channel) ?? ""]);
  const unread = labelRefusal === undefined ? [] : [`  not used, ${labelRefusal.refused}: ${labelRefusal.detail}`];
  return [`  ${deviceId}  ${at}${said}`, textTable(rows), ...unread].join("\n");
}
