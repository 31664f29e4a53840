// Topics with named segments, `plant/{line}/{device}/+`: the filter to subscribe to, and what a topic says by name.

export interface TopicPattern {
  /** As a broker takes it. */
  readonly filter: string;
  readonly names: readonly string[];
  /** What the named segments are in `topic`; null: it is none of these topics. */
  match(topic: string): ReadonlyMap<string, string> | null;
}

/** Longer ones are refused: nobody names a device with them. */
export const MAX_TOPIC_CHARACTERS = 1_024;
const MAX_LEVELS = 64;
const NAMED = /^\{([A-Za-z][A-Za-z0-9_]{0,31})\}$/;
/** Names that a template has without a segment. */
export const TOPIC_NAME = "topic";
export const KEY_NAME = "key";

/**
 * Levels are texts, `+`, a name in braces for exactly one level, and at the end `#`, which also stands for no level at
 * all. Throws RangeError saying what is allowed.
 */
export function parseTopic(text: string): TopicPattern {
  const levels = text.split("/");
  if (text === "" || text.length > MAX_TOPIC_CHARACTERS || levels.length > MAX_LEVELS)
    throw new RangeError(`a topic has 1 to ${MAX_TOPIC_CHARACTERS} characters in at most ${MAX_LEVELS} levels`);
  const names = levels.map((level) => NAMED.exec(level)?.[1] ?? null);
  for (const [index, level] of levels.entries()) checkLevel(level, names[index] ?? null, index === levels.length - 1);
  const said = names.filter((name) => name !== null);
  if (new Set(said).size !== said.length) throw new RangeError("a segment's name stands twice");
  const reserved = said.find((name) => name === TOPIC_NAME || name === KEY_NAME);
  if (reserved !== undefined)
    throw new RangeError(`{${reserved}} has a meaning of its own; name the segment otherwise`);
  const open = levels.at(-1) === "#";
  const fixed = open ? levels.slice(0, -1) : levels;
  return {
    filter: levels.map((level, index) => (names[index] === null ? level : "+")).join("/"),
    names: said,
    match: (topic) => matchLevels(topic.split("/"), fixed, names, open),
  };
}

function matchLevels(
  given: readonly string[],
  fixed: readonly string[],
  names: readonly (string | null)[],
  open: boolean,
): ReadonlyMap<string, string> | null {
  if (open ? given.length < fixed.length : given.length !== fixed.length) return null;
  // A wildcard at the beginning does not stand for the broker's own topics, MQTT 5.0, 4.7.2.
  if (given[0]?.startsWith("$") && fixed[0] !== given[0]) return null;
  const segments = new Map<string, string>();
  for (const [index, level] of fixed.entries()) {
    const name = names[index] ?? null;
    if (name !== null) segments.set(name, given[index] ?? "");
    else if (level !== "+" && level !== given[index]) return null;
  }
  return segments;
}

function checkLevel(level: string, name: string | null, last: boolean): void {
  if (name !== null || level === "+" || (level === "#" && last)) return;
  if (/[{}+#\0]/.test(level)) {
    throw new RangeError(
      `level ${JSON.stringify(level)}: a level is a text, +, a name in braces such as {device}, or # at the end`,
    );
  }
}

/** Why a topic can't be one that a message came on; null: it can. */
export function topicFault(topic: string): string | null {
  if (topic === "") return "the topic is empty";
  if (topic.length > MAX_TOPIC_CHARACTERS)
    return `the topic has ${topic.length} characters; at most ${MAX_TOPIC_CHARACTERS} are read`;
  if (topic.split("/").length > MAX_LEVELS) return `the topic has more than ${MAX_LEVELS} levels`;
  return /[+#\0]/.test(topic) ? "the topic has a wildcard or a NUL, which no message can be published on" : null;
}
