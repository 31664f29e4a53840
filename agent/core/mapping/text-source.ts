// Texts that a message says, such as a device's name: of the topic, of a path, or constant.
import { show } from "../../../learning/telemetry/message.ts";
import { type Refusal, refusal } from "../../../learning/telemetry/refusal.ts";
import { type Expression, parseExpression } from "./expression.ts";
import { hasEach, type Path, parsePath, valueAt } from "./path.ts";
import { MappingError, type TextSource } from "./settings.ts";
import { KEY_NAME, TOPIC_NAME } from "./topic-pattern.ts";

/** One thing that is read of a message. */
export interface Context {
  readonly topic: string;
  readonly segments: ReadonlyMap<string, string>;
  /** All that was decoded. */
  readonly top: unknown;
  /** The element of a fan-out, else `top`. */
  readonly here: unknown;
  /** By which the element stands in the message, where a fan-out went over an object. */
  readonly key: string;
}

export interface CompiledText {
  /** Without a message: of a template that has no name in it. */
  readonly constant: string | null;
  /** Where in the message it is said, if it is. */
  readonly path: Path | null;
  read(context: Context): string | Refusal;
}

const NAME = /\{([^{}]*)\}/g;

/** `what` names it in refusals, `at` in errors. Throws MappingError. */
export function compileText(
  source: TextSource,
  names: readonly string[],
  what: string,
  at: readonly (string | number)[],
): CompiledText {
  const given = typeof source === "string" ? { text: source } : source;
  const expression =
    given.match === undefined ? null : within([...at, "match"], () => parseExpression(given.match ?? ""));
  if ("path" in given) return ofPath(given.path, expression, what, [...at, "path"]);
  return ofTemplate(given.text, expression, names, what, typeof source === "string" ? at : [...at, "text"]);
}

function ofTemplate(
  template: string,
  expression: Expression | null,
  names: readonly string[],
  what: string,
  at: readonly (string | number)[],
): CompiledText {
  const known = [...names, TOPIC_NAME, KEY_NAME];
  const used = [...template.matchAll(NAME)].map(([, name = ""]) => name);
  const unknown = used.find((name) => !known.includes(name));
  if (unknown !== undefined)
    throw new MappingError(
      at,
      `{${unknown}} is no segment of the topic; named are ${known.map((name) => `{${name}}`).join(", ")}`,
    );
  return {
    constant: used.length === 0 && expression === null ? template : null,
    path: null,
    read: ({ topic, segments, key }) => {
      const text = template.replace(NAME, (_, name: string) =>
        name === TOPIC_NAME ? topic : name === KEY_NAME ? key : (segments.get(name) ?? ""),
      );
      return matched(text, expression, what);
    },
  };
}

function ofPath(
  text: string,
  expression: Expression | null,
  what: string,
  at: readonly (string | number)[],
): CompiledText {
  const path = singlePath(text, at);
  return {
    constant: null,
    path,
    read: ({ top, here }) => {
      const value = valueAt(path, top, here);
      if (typeof value !== "string" && typeof value !== "number")
        return refusal("wrong_shape", `${what} is at ${text}, where ${show(value)} is; allowed is a text or a number`);
      return matched(String(value), expression, what);
    },
  };
}

function matched(text: string, expression: Expression | null, what: string): string | Refusal {
  const taken = expression === null ? text : expression(text);
  return taken ?? refusal("wrong_shape", `${what}: ${show(text)} does not match the regular expression`);
}

/** A path that leads to one thing. Throws MappingError. */
export function singlePath(text: string, at: readonly (string | number)[]): Path {
  const path = within(at, () => parsePath(text));
  if (hasEach(path)) throw new MappingError(at, "a path with * leads to many things; it is allowed in `each` only");
  return path;
}

/** What is wrong with a setting, said with where it stands. */
export function within<Value>(at: readonly (string | number)[], work: () => Value): Value {
  try {
    return work();
  } catch (error) {
    if (error instanceof RangeError) throw new MappingError(at, error.message);
    throw error;
  }
}
