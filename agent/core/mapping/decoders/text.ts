// Payloads that are text: UTF-8, of bounded length.
import { MAX_PAYLOAD_BYTES } from "../../../../learning/telemetry/message.ts";
import { type Refusal, refusal } from "../../../../learning/telemetry/refusal.ts";

/** What a payload was decoded to: numbers, texts, truth values, and lists and objects of these. */
export interface Decoded {
  readonly body: unknown;
}

/** Never throws, whatever the bytes are. */
export type Decoder = (payload: Uint8Array) => Decoded | Refusal;

export const malformed = (detail: string): Refusal => refusal("malformed_payload", detail);

export function textOf(payload: Uint8Array): { readonly text: string } | Refusal {
  if (payload.byteLength > MAX_PAYLOAD_BYTES) return tooLarge(payload);
  try {
    return { text: new TextDecoder("utf-8", { fatal: true }).decode(payload) };
  } catch {
    return malformed("the payload is not text in UTF-8");
  }
}

export const tooLarge = ({ byteLength }: Uint8Array): Refusal =>
  refusal("too_large", `${byteLength} bytes; at most ${MAX_PAYLOAD_BYTES} are read`);
