// A payload that is one of two words: `ON`, `open`, `1`.
import { show } from "../../../../learning/telemetry/message.ts";
import { isRefusal } from "../../../../learning/telemetry/refusal.ts";
import { type Decoder, malformed, textOf } from "./text.ts";

/** 1 for the one, 0 for the other, in any case. */
export function booleanDecoder(yes: readonly string[], no: readonly string[]): Decoder {
  const numbers = new Map([
    ...yes.map((word) => [word.toLowerCase(), 1] as const),
    ...no.map((word) => [word.toLowerCase(), 0] as const),
  ]);
  return (payload) => {
    const read = textOf(payload);
    if (isRefusal(read)) return read;
    const body = numbers.get(read.text.trim().toLowerCase());
    return body === undefined ? malformed(`${show(read.text)} is none of ${[...numbers.keys()].join(", ")}`) : { body };
  };
}
