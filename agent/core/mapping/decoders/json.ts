// JSON of any shape.
import { isRefusal, refusal } from "../../../../learning/telemetry/refusal.ts";
import { type Decoder, textOf } from "./text.ts";

export const decodeJson: Decoder = (payload) => {
  const read = textOf(payload);
  if (isRefusal(read)) return read;
  try {
    return { body: JSON.parse(read.text) as unknown };
  } catch (error) {
    return refusal("malformed_json", `${(error as Error).message}; the payload must be JSON in UTF-8`);
  }
};
