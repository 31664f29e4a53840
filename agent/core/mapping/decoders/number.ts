// A payload that is one number, `21.5`; or a word that a channel's `sentinels` or `map` may know.
import { isRefusal } from "../../../../learning/telemetry/refusal.ts";
import { decimal } from "../calibrate.ts";
import { type Decoder, textOf } from "./text.ts";

export const decodeNumber: Decoder = (payload) => {
  const read = textOf(payload);
  if (isRefusal(read)) return read;
  const text = read.text.trim();
  return { body: decimal(text) ?? text };
};
