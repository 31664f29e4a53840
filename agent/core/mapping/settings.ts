// What a mapping file says, once it is read: which messages become which device's readings.

/**
 * A text that is made of a message. A template takes segments of the topic by name (`"{line}-{device}"`), and `{topic}`,
 * the whole of it; `match` takes the first group of a regular expression, or what it matches, out of the text.
 */
export type TextSource =
  | string
  | { readonly text: string; readonly match?: string }
  | { readonly path: string; readonly match?: string };

export const BYTE_TYPES = [
  "int8",
  "uint8",
  "int16le",
  "int16be",
  "uint16le",
  "uint16be",
  "int32le",
  "int32be",
  "uint32le",
  "uint32be",
  "float32le",
  "float32be",
  "float64le",
  "float64be",
] as const;

export type ByteType = (typeof BYTE_TYPES)[number];

/** How the bytes of a payload become something that paths lead into. */
export type DecoderSettings =
  | { readonly kind: "json" | "number" }
  /** Whole protocols, which say themselves of which device they are. */
  | { readonly kind: "sparkplug" }
  | { readonly kind: "flead" }
  /** `match`: the first group of a regular expression, or what it matches. */
  | { readonly kind: "string"; readonly match?: string }
  /** A text that stands for 1 or 0, in any case. */
  | { readonly kind: "boolean"; readonly true: readonly string[]; readonly false: readonly string[] }
  | {
      readonly kind: "bytes";
      readonly encoding: "raw" | "hex" | "base64";
      readonly slices: Readonly<Record<string, { readonly at: number; readonly type: ByteType }>>;
    }
  | { readonly kind: "csv"; readonly separator: string; readonly columns: readonly (string | null)[] };

/** From what was said to what was measured: value × scale + offset, in `unit`. */
export interface Calibration {
  readonly unit?: string;
  readonly scale: number;
  readonly offset: number;
  /** Of the measured value, both bounds included; outside it is refused. */
  readonly range?: readonly [number, number];
  /** What is said, before scale and offset, where there is no value. */
  readonly sentinels: readonly (number | string)[];
  /** Numbers for texts and for true and false. */
  readonly map?: Readonly<Record<string, number>>;
}

export interface ChannelSettings extends Calibration {
  readonly name: TextSource;
  /** Where the value is; left out: what was decoded is the value. */
  readonly path?: string;
}

/** Every number below `under` becomes a channel by its own name. */
export interface FieldsSettings {
  readonly under?: string;
  /** Before each name, and a dot. */
  readonly prefix?: TextSource;
  readonly only?: readonly string[];
  readonly except: readonly string[];
  /** Numbers for texts and for true and false; what is not in it is no channel. */
  readonly map?: Readonly<Record<string, number>>;
  readonly calibrate: Readonly<Record<string, Calibration>>;
}

export interface TimeSettings {
  readonly path: string;
  /** `auto`: ISO 8601, or seconds or milliseconds by size; else a unit since 1970, or a pattern such as `dd.MM.yyyy HH:mm:ss`. */
  readonly format: string;
  /** Of a time that says none: `UTC`, an IANA name or an offset such as `+01:00`. */
  readonly zone: string;
}

/** Ground truth, for sites that have it: never a channel. */
export interface LabelSettings {
  readonly path: string;
  readonly map?: Readonly<Record<string, 0 | 1>>;
}

export interface AvailabilitySettings {
  /** Has the same named segments as the subscription's. */
  readonly topic: string;
  /** In a JSON payload; left out: the payload is the word. */
  readonly path?: string;
  readonly online: readonly string[];
  readonly offline: readonly string[];
}

/** A topic that says of a device what is true from then on. */
export interface LabelTopicSettings extends Omit<LabelSettings, "path"> {
  /** Has the same named segments as the subscription's. */
  readonly topic: string;
  readonly path?: string;
}

export interface SubscriptionSettings {
  /** Of `brokers`; left out: all of them. */
  readonly broker?: string;
  readonly topic: string;
  /** Topic filters whose messages are not this subscription's. */
  readonly except: readonly string[];
  readonly qos: 0 | 1 | 2;
  readonly ignoreRetained: boolean;
  readonly decode: DecoderSettings;
  /** A path with `*` or `[*]`: each thing there is read for itself. */
  readonly each?: string;
  /** A whole protocol says it itself. */
  readonly device?: TextSource;
  readonly channels: readonly ChannelSettings[];
  readonly fields?: FieldsSettings;
  readonly time?: TimeSettings;
  readonly label?: LabelSettings;
  readonly labelTopic?: LabelTopicSettings;
  readonly availability?: AvailabilitySettings;
  /** How far apart a device's messages usually are. */
  readonly expectedIntervalMs?: number;
  /** A value that is older is not taken into a row any more, and a device that is silent for so long is said to be. */
  readonly staleAfterMs?: number;
  /** A message has some of the device's channels: they are aligned to rows. */
  readonly partial: boolean;
}

/** A setting that can't be as it is given: where, and what is allowed. */
export class MappingError extends Error {
  readonly path: readonly (string | number)[];

  constructor(path: readonly (string | number)[], message: string) {
    super(message);
    this.name = "MappingError";
    this.path = path;
  }
}
