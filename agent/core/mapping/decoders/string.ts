// A payload that is a text, or has one in it: `T=21.5 C`.
import { isRefusal } from "../../../../learning/telemetry/refusal.ts";
import { parseExpression } from "../expression.ts";
import { type Decoder, malformed, textOf } from "./text.ts";

/** Throws RangeError for what is no regular expression. */
export function stringDecoder(match: string | undefined): Decoder {
  const expression = match === undefined ? null : parseExpression(match);
  return (payload) => {
    const read = textOf(payload);
    if (isRefusal(read)) return read;
    const taken = expression === null ? read.text.trim() : expression(read.text);
    return taken === null ? malformed("the payload does not match the regular expression") : { body: taken };
  };
}
