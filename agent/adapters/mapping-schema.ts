// What a mapping file may say: brokers, and which of their messages become which device's readings.
import { z } from "zod";
import { isUnit, UNIT_RULE } from "../../learning/channels.ts";
import { Mapping } from "../core/mapping/mapping.ts";
import { mappingPresets, type PresetName } from "../core/mapping/presets.ts";
import { BYTE_TYPES, MappingError, type SubscriptionSettings } from "../core/mapping/settings.ts";
import { sparkplugCodec } from "./sparkplug-codec.ts";

const MAX_ENTRIES = 256;
const MAX_TEXT = 1_024;
const DAY_MS = 86_400_000;

const text = z.string().max(MAX_TEXT);
const path = text.describe('Place in the message: a.b[0].c, ["a key"], $.from.the.top; * and [*] only in `each`.');
const topic = text.min(1).describe("MQTT topic filter, with named segments: plant/{line}/{device}/+");
const expression = text.describe("Regular expression; its first group is taken, or the whole match.");
const name = z.string().regex(/^[A-Za-z0-9][A-Za-z0-9_.-]{0,63}$/, "must be 1 to 64 letters, digits, '_', '.' or '-'");
const words = z.array(text).max(MAX_ENTRIES);
const durationMs = z
  .int()
  .min(1)
  .max(31 * DAY_MS);

const textSource = z.union(
  [
    text.min(1).describe("Text with segments of the topic: {line}-{device}; also {topic}, and {key} in a fan-out."),
    z.strictObject({ text: text.min(1), match: expression.exactOptional() }),
    z.strictObject({ path, match: expression.exactOptional() }),
  ],
  { error: ({ input }) => `${show(input)} is neither a text, nor { text, match }, nor { path, match }` },
);

const numbers = z.record(text, z.number()).describe("Numbers for texts, and for true and false.");

const calibration = {
  unit: z.string().refine(isUnit, UNIT_RULE).exactOptional(),
  scale: z.number().default(1).describe("The value is multiplied by it."),
  offset: z.number().default(0).describe("Added after scaling."),
  range: z
    .tuple([z.number(), z.number()])
    .refine(([low, high]) => low <= high, "must be the lowest and the highest valid value")
    .exactOptional()
    .describe("Lowest and highest valid value, after scale and offset; values outside are refused."),
  sentinels: z
    .array(z.union([z.number(), text]))
    .max(MAX_ENTRIES)
    .default([])
    .describe("What is said, before scale and offset, where there is no value."),
  map: numbers.exactOptional(),
};

const channel = z.strictObject({
  name: textSource,
  path: path.exactOptional(),
  ...calibration,
});

const fields = z
  .strictObject({
    under: path.exactOptional(),
    prefix: textSource.exactOptional().describe("Before each name, and a dot."),
    only: words.exactOptional(),
    except: words.default([]),
    map: numbers.exactOptional(),
    calibrate: z.record(text, z.strictObject(calibration)).default({}),
  })
  .describe("Every number below a place is a channel by its own name, nested names with dots.");

const DECODERS = ["json", "number", "string", "boolean", "sparkplug", "flead"] as const;
const TRUE_WORDS = ["true", "on", "yes", "1"];
const FALSE_WORDS = ["false", "off", "no", "0"];

const decoder = z.discriminatedUnion("kind", [
  z.strictObject({ kind: z.literal(["json", "number"]) }),
  z.strictObject({ kind: z.literal("sparkplug") }),
  z.strictObject({ kind: z.literal("flead") }),
  z.strictObject({ kind: z.literal("string"), match: expression.exactOptional() }),
  z.strictObject({
    kind: z.literal("boolean"),
    true: words.min(1).default(TRUE_WORDS),
    false: words.min(1).default(FALSE_WORDS),
  }),
  z.strictObject({
    kind: z.literal("bytes"),
    encoding: z.enum(["raw", "hex", "base64"]).default("raw"),
    slices: z
      .record(text, z.strictObject({ at: z.int().min(0).max(65_535), type: z.enum(BYTE_TYPES) }))
      .refine((slices) => Object.keys(slices).length > 0, "must have one slice or more"),
  }),
  z.strictObject({
    kind: z.literal("csv"),
    separator: z.string().length(1).default(","),
    columns: z.array(text.min(1).nullable()).min(1).max(MAX_ENTRIES),
  }),
]);

/** Which decoder is wrong with which key is said by `decoder`, which a union would not say. */
const anyDecoder = z.looseObject({ kind: z.string() });

const decode = z
  .union([z.enum(DECODERS).transform((kind) => ({ kind })), anyDecoder], {
    error: ({ input }) => `${show(input)} is neither one of ${DECODERS.join(", ")} nor an object with a kind`,
  })
  .pipe(decoder);

const labelMap = z
  .record(text, z.literal([0, 1]))
  .exactOptional()
  .describe("0 for the words that say normal, 1 for those that say anomaly.");

/** What a subscription or a preset may say; what neither says has its default. */
const shape = {
  broker: name.exactOptional().describe("Of `brokers`; left out: all of them."),
  topic: topic.exactOptional(),
  except: z.array(topic).max(MAX_ENTRIES).exactOptional().describe("Topic filters whose messages are not read."),
  qos: z.literal([0, 1, 2]).exactOptional(),
  ignoreRetained: z
    .boolean()
    .exactOptional()
    .describe("Messages of unknown age are refused; true unless said otherwise."),
  decode: decode.exactOptional(),
  each: path.exactOptional().describe("Path with * or [*]: each thing there is read for itself."),
  device: textSource.exactOptional(),
  channels: z.array(channel).max(MAX_ENTRIES).exactOptional(),
  fields: fields.exactOptional(),
  time: z
    .strictObject({
      path,
      format: text
        .default("auto")
        .describe("auto, iso, seconds, milliseconds, microseconds, nanoseconds, or a pattern: dd.MM.yyyy HH:mm:ss"),
      zone: text.default("UTC").describe("Of a time that says none: UTC, +01:00, Europe/Berlin."),
    })
    .exactOptional()
    .describe("When it was measured; left out: when the message came."),
  label: z
    .strictObject({ path, map: labelMap })
    .exactOptional()
    .describe("Ground truth in the message, never a channel."),
  labelTopic: z
    .strictObject({ topic, path: path.exactOptional(), map: labelMap })
    .exactOptional()
    .describe("Topic with the same named segments that says what is true of the device from then on."),
  availability: z
    .strictObject({
      topic,
      path: path.exactOptional(),
      online: words.min(1).default(["online"]),
      offline: words.min(1).default(["offline"]),
    })
    .exactOptional()
    .describe("Topic with the same named segments that says whether the device is there."),
  expectedIntervalMs: durationMs.exactOptional().describe("How far apart a device's messages usually are."),
  staleAfterMs: durationMs
    .exactOptional()
    .describe("Older values are no part of a row; three expected intervals unless said."),
  partial: z
    .boolean()
    .exactOptional()
    .describe("A message has some of a device's channels, which are aligned to rows."),
};

const DEFAULTS = {
  except: [],
  qos: 1,
  ignoreRetained: true,
  decode: { kind: "json" },
  channels: [],
  partial: false,
} as const;

const presetSchema = z.strictObject(shape);

const subscription = z
  .strictObject({
    preset: z
      .enum(Object.keys(mappingPresets) as [PresetName, ...PresetName[]])
      .exactOptional()
      .describe("What the subscription does not say itself is the preset's."),
    ...shape,
  })
  .transform(({ preset, ...given }, context): SubscriptionSettings => {
    const presets = preset === undefined ? {} : presetSchema.parse(mappingPresets[preset]);
    const { topic: filter, ...whole } = { ...DEFAULTS, ...presets, ...given };
    if (filter !== undefined) return { ...whole, topic: filter };
    context.addIssue({ code: "custom", path: ["topic"], message: "must be given, or a preset that has one" });
    return z.NEVER;
  });

const file = text.min(1).describe("Path, from the folder of this file.");

export const brokerSchema = z
  .strictObject({
    name,
    url: z
      .string()
      .regex(
        /^(mqtts?|wss?|tcp|tls|ssl):\/\/[^\s@]+$/,
        "must be a URL such as mqtts://host:8883; user and password are in files",
      ),
    protocol: z.literal(["3.1.1", 5]).default("3.1.1").describe("Version of MQTT."),
    clientId: text.min(1).exactOptional().describe("Left out: flead-<site>-<gateway>."),
    cleanSession: z.boolean().default(true).describe("false: the broker keeps what comes while the agent is away."),
    sessionExpirySeconds: z.int().min(0).max(4_294_967_295).exactOptional().describe("How long it keeps it; MQTT 5."),
    userFile: file.exactOptional(),
    passwordFile: file.exactOptional(),
    caFile: file.exactOptional().describe("Certificates (PEM) that may sign the broker's."),
    certificateFile: file.exactOptional().describe("The agent's own certificate (PEM)."),
    keyFile: file.exactOptional(),
    serverName: text
      .min(1)
      .exactOptional()
      .describe("Name that the broker's certificate has, where the URL has another."),
    alerts: z.boolean().default(false).describe("Alerts go to this one; else to the first."),
  })
  .refine(({ protocol, sessionExpirySeconds }) => protocol === 5 || sessionExpirySeconds === undefined, {
    path: ["sessionExpirySeconds"],
    message: "is of MQTT 5",
  })
  .refine((of) => of.protocol !== 5 || of.cleanSession || of.sessionExpirySeconds !== undefined, {
    path: ["sessionExpirySeconds"],
    message: "must be given where a session of MQTT 5 is to be kept",
  })
  .refine(({ certificateFile, keyFile }) => (certificateFile === undefined) === (keyFile === undefined), {
    path: ["keyFile"],
    message: "certificateFile and keyFile belong together",
  });

const brokers = z
  .array(brokerSchema)
  .max(16)
  .refine((all) => new Set(all.map((one) => one.name)).size === all.length, "a name stands twice")
  .refine((all) => all.filter(({ alerts }) => alerts).length <= 1, "alerts go to one broker only");

export type BrokerSettings = z.output<typeof brokerSchema>;

/** Each preset as a subscription that says nothing else. */
export const presetSubscriptions = (): { readonly preset: string; readonly settings: SubscriptionSettings }[] =>
  Object.keys(mappingPresets).map((preset) => ({ preset, settings: subscription.parse({ preset }) }));

export const mappingFileSchema = z
  .strictObject({
    brokers: brokers.default([]).describe("Left out: the one of --mqtt."),
    subscriptions: z.array(subscription).min(1).max(MAX_ENTRIES),
  })
  .superRefine(({ brokers: known, subscriptions }, context) => {
    if (context.issues.length > 0) return;
    const names = known.map((one) => one.name);
    for (const [index, { broker: of }] of subscriptions.entries()) {
      if (of === undefined || names.includes(of)) continue;
      const message = `no broker is named ${of}; brokers has ${names.join(", ") || "none"}`;
      context.addIssue({ code: "custom", path: ["subscriptions", index, "broker"], message });
    }
    try {
      new Mapping(subscriptions, sparkplugCodec);
    } catch (error) {
      if (!(error instanceof MappingError)) throw error;
      context.addIssue({ code: "custom", path: [...error.path], message: error.message });
    }
  });

export type MappingFile = z.output<typeof mappingFileSchema>;

/** For editors: what a person writes. */
export function mappingJsonSchema(): object {
  return z.toJSONSchema(mappingFileSchema, {
    io: "input",
    override: ({ zodSchema, jsonSchema }) => {
      if (zodSchema !== (anyDecoder as z.core.$ZodType)) return;
      for (const key of Object.keys(jsonSchema)) delete jsonSchema[key as keyof typeof jsonSchema];
      const { $schema: _, ...allowed } = z.toJSONSchema(decoder, { io: "input" });
      Object.assign(jsonSchema, allowed);
    },
  });
}

function show(value: unknown): string {
  return (JSON.stringify(value) ?? String(value)).slice(0, 60);
}
