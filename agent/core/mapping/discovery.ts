// What a broker's messages look like, and the mapping that would make rows of them: a draft for a person to go on with.
import { isLabel } from "../../../learning/channels.ts";
import { isObject, timeOf } from "../../../learning/telemetry/message.ts";
import { isRefusal } from "../../../learning/telemetry/refusal.ts";
import { decodeJson } from "./decoders/json.ts";
import { decodeNumber } from "./decoders/number.ts";
import type { SiteMessage } from "./sensor-reader.ts";
import type { Route } from "./subscription.ts";
import { topicFault } from "./topic-pattern.ts";

/** A subscription as a mapping file says it, and what a person should know of it. */
export interface Proposal {
  readonly subscription: Readonly<Record<string, unknown>>;
  readonly comment: string;
}

/** What was heard that nothing is proposed for. */
export interface Leftover {
  readonly topics: number;
  readonly example: string;
  readonly why: string;
}

type Shape = "json" | "list" | "number" | "other";

interface HeardTopic {
  messages: number;
  firstMs: number;
  lastMs: number;
  readonly shape: Shape;
  /** Names of an object's fields, in order and joined. */
  readonly fields: string;
  readonly timeKey: string | null;
  readonly labelKey: string | null;
}

interface Group {
  readonly topics: { readonly name: string; readonly levels: readonly string[]; readonly heard: HeardTopic }[];
}

const MAX_TOPICS = 5_000;
const MAX_PROPOSALS = 50;
const MAX_SIGNATURE = 500;
const TIME_KEYS = ["timestamp", "ts", "time", "Time", "datetime", "at", "date"];
/** A number that is a time is one of about now. */
const ABOUT_NOW_MS = 366 * 86_400_000;
const SLOWEST_MS = 3_600_000;
const DEFAULT_INTERVAL_MS = 60_000;
/** What this and other agents say themselves. */
const OWN = /^flead\/v1\/[^/]+\/[^/]+\/(alert|event|status|model)(\/|$)/;

/** Bounded: topics beyond 5,000 are counted only, and no payload is kept. */
export class Discovery {
  readonly #presets: ReadonlyMap<string, readonly Route[]>;
  readonly #ofPreset = new Map<string, Set<string>>();
  readonly #topics = new Map<string, HeardTopic>();
  #beyond = 0;
  #messages = 0;

  /** `presets`: the routes of each preset. */
  constructor(presets: ReadonlyMap<string, readonly Route[]>) {
    this.#presets = presets;
  }

  get messages(): number {
    return this.#messages;
  }

  hear(message: SiteMessage): void {
    const { topic, receivedAtMs } = message;
    if (topicFault(topic) !== null || OWN.test(topic)) return;
    this.#messages++;
    if ([...this.#ofPreset.values()].some((topics) => topics.has(topic))) return;
    const known = this.#topics.get(topic);
    if (known !== undefined && known.shape !== "other") {
      known.messages++;
      known.lastMs = receivedAtMs;
    } else if (known === undefined && this.#topics.size + this.#presetTopics() >= MAX_TOPICS) this.#beyond++;
    else {
      const preset = this.#presetOf(message);
      this.#topics.delete(topic);
      if (preset === null) this.#topics.set(topic, shapeOf(message));
      else this.#ofPreset.set(preset, (this.#ofPreset.get(preset) ?? new Set()).add(topic));
    }
  }

  propose(): { readonly proposals: readonly Proposal[]; readonly leftovers: readonly Leftover[] } {
    const presets = [...this.#ofPreset].map(([preset, topics]) => {
      return { subscription: { preset }, comment: `${counted(topics.size)}, for example ${[...topics][0]}` };
    });
    const groups = groupsOf(this.#topics);
    const usable = groups.filter(({ topics }) => topics[0]?.heard.shape !== "other");
    const generic = mergeByTopic(usable.map(proposalOf)).sort((a, b) => literals(b) - literals(a));
    const proposals = [...presets, ...generic].slice(0, MAX_PROPOSALS);
    const leftovers = groups
      .filter((group) => !usable.includes(group))
      .map((group) => leftover(group, "neither a number nor JSON with numbers"));
    if (presets.length + generic.length > proposals.length) {
      const topics = presets.length + generic.length - proposals.length;
      leftovers.push({ topics, example: "", why: `kinds of topics beyond the first ${MAX_PROPOSALS}` });
    }
    if (this.#beyond > 0)
      leftovers.push({ topics: this.#beyond, example: "", why: `messages on topics beyond the first ${MAX_TOPICS}` });
    return { proposals, leftovers };
  }

  /** What is said of availability is of the preset as well, and so are data whose birth was not heard. */
  #presetOf(message: SiteMessage): string | null {
    const live = { ...message, retained: false };
    for (const [preset, routes] of this.#presets) {
      for (const route of routes) {
        const segments = route.match(message.topic);
        if (segments === null) continue;
        const { readings, words, refusals } = route.read(live, segments);
        if (readings.length + words.length > 0 || refusals.some(({ refused }) => refused === "no_birth")) return preset;
      }
    }
    return null;
  }

  #presetTopics(): number {
    let count = 0;
    for (const topics of this.#ofPreset.values()) count += topics.size;
    return count;
  }
}

function shapeOf({ payload, receivedAtMs }: SiteMessage): HeardTopic {
  const heard = { messages: 1, firstMs: receivedAtMs, lastMs: receivedAtMs, fields: "", timeKey: null, labelKey: null };
  const json = decodeJson(payload);
  const body = isRefusal(json) ? null : json.body;
  const first = Array.isArray(body) ? body[0] : body;
  if (isObject(first) && hasNumber(first, 0)) {
    const keys = Object.keys(first);
    return {
      ...heard,
      shape: Array.isArray(body) ? "list" : "json",
      fields: keys.sort().join().slice(0, MAX_SIGNATURE),
      timeKey: TIME_KEYS.find((key) => isTimeOfNow(first[key], receivedAtMs)) ?? null,
      labelKey: keys.find(isLabel) ?? null,
    };
  }
  const number = decodeNumber(payload);
  return { ...heard, shape: !isRefusal(number) && typeof number.body === "number" ? "number" : "other" };
}

const hasNumber = (value: unknown, depth: number): boolean =>
  typeof value === "number" ||
  (typeof value === "object" &&
    value !== null &&
    depth < 4 &&
    Object.values(value).some((inner) => hasNumber(inner, depth + 1)));

function isTimeOfNow(given: unknown, nowMs: number): boolean {
  if (given === undefined) return false;
  const atMs = timeOf(given, "time");
  return typeof atMs === "number" && Math.abs(atMs - nowMs) < ABOUT_NOW_MS;
}

/** Topics of one kind: as many levels, the same beginning and the same fields. */
function groupsOf(topics: ReadonlyMap<string, HeardTopic>): Group[] {
  const groups = new Map<string, Group>();
  for (const [name, heard] of topics) {
    const levels = name.split("/");
    const key = [levels.length, levels[0], heard.shape, heard.fields].join(" ");
    const group = groups.get(key) ?? { topics: [] };
    group.topics.push({ name, levels, heard });
    groups.set(key, group);
  }
  return [...groups.values()];
}

function proposalOf({ topics }: Group): Proposal {
  const [first] = topics;
  const levels = first?.levels ?? [];
  const varied = levels.map((level, at) => topics.some((other) => other.levels[at] !== level));
  const isNumber = first?.heard.shape === "number";
  const { names, device } = segmentsOf(varied, isNumber);
  const topic = levels.map((level, at) => (names[at] == null ? plainLevel(level) : `{${names[at]}}`)).join("/");
  const intervalMs = intervalOf(topics.map(({ heard }) => heard));
  const { timeKey = null, labelKey = null, shape } = first?.heard ?? {};
  return {
    subscription: {
      topic,
      device,
      ...(isNumber && {
        decode: "number",
        channels: [{ name: levels.length > 1 ? "{channel}" : "{topic}" }],
        partial: true,
      }),
      ...(shape === "list" && { each: "[*]" }),
      ...(!isNumber && { fields: {} }),
      ...(timeKey !== null && { time: { path: timeKey } }),
      ...(intervalMs !== null
        ? { expectedIntervalMs: intervalMs }
        : isNumber && { expectedIntervalMs: DEFAULT_INTERVAL_MS }),
    },
    comment: [
      `${counted(topics.length)}, for example ${first?.name}`,
      ...(labelKey === null ? [] : [`${labelKey} is no channel; if it is ground truth: label: {path: ${labelKey}}`]),
    ].join("\n"),
  };
}

/** The last level that varies names the device, one that holds a number the channel; what varies before is part of its name. */
function segmentsOf(varied: readonly boolean[], isNumber: boolean): { names: (string | null)[]; device: string } {
  const names: (string | null)[] = varied.map(() => null);
  if (isNumber && varied.length > 1) names[varied.length - 1] = "channel";
  const free = varied.flatMap((varies, at) => (varies && names[at] === null ? [at] : []));
  // Of a single topic: the level before the last one, or the last of two.
  const guess = varied.length > (isNumber ? 1 : 2) ? varied.length - 2 : varied.length - 1;
  const deviceAt = free.at(-1) ?? guess;
  if (names[deviceAt] === null) names[deviceAt] = "device";
  for (const at of free) if (at !== deviceAt) names[at] = `level${at + 1}`;
  const parts = names.filter((name) => name !== null && name !== "channel");
  return { names, device: parts.map((name) => `{${name}}`).join("-") };
}

/** A level with braces can't be said in a mapping as it is. */
const plainLevel = (level: string) => (/[{}]/.test(level) ? "+" : level);

function intervalOf(heard: readonly HeardTopic[]): number | null {
  const intervals = heard.flatMap(({ messages, firstMs, lastMs }) =>
    messages > 2 ? [(lastMs - firstMs) / (messages - 1)] : [],
  );
  if (intervals.length === 0) return null;
  const slowestMs = Math.min(SLOWEST_MS, Math.max(...intervals));
  return Math.max(100, Math.ceil(slowestMs / 100) * 100);
}

/** Groups of different fields can have topics of one pattern: one subscription reads them all. */
function mergeByTopic(proposals: readonly Proposal[]): Proposal[] {
  const merged = new Map<unknown, Proposal>();
  for (const proposal of proposals) {
    const key = `${proposal.subscription.topic} ${proposal.subscription.decode}`;
    const before = merged.get(key);
    merged.set(key, before === undefined ? proposal : { ...before, comment: `${before.comment}\n${proposal.comment}` });
  }
  return [...merged.values()];
}

/** The first subscription that matches reads a message: the narrower one has to come first. */
const literals = ({ subscription }: Proposal) =>
  String(subscription.topic)
    .split("/")
    .filter((level) => level !== "+" && !level.startsWith("{")).length;

const leftover = ({ topics }: Group, why: string): Leftover => ({
  topics: topics.length,
  example: topics[0]?.name ?? "",
  why,
});

const counted = (topics: number) => `${topics} ${topics === 1 ? "topic" : "topics"}`;
