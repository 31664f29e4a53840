// The decoder that a subscription's settings name.
import type { DecoderSettings } from "../settings.ts";
import { booleanDecoder } from "./boolean.ts";
import { bytesDecoder } from "./bytes.ts";
import { csvDecoder } from "./csv.ts";
import { decodeJson } from "./json.ts";
import { decodeNumber } from "./number.ts";
import { stringDecoder } from "./string.ts";
import type { Decoder } from "./text.ts";

/** Of what decodes to a body; those of whole protocols are not among them. Throws RangeError for a wrong setting. */
export function decoderOf(settings: Exclude<DecoderSettings, { kind: "sparkplug" | "flead" }>): Decoder {
  switch (settings.kind) {
    case "json":
      return decodeJson;
    case "number":
      return decodeNumber;
    case "string":
      return stringDecoder(settings.match);
    case "boolean":
      return booleanDecoder(settings.true, settings.false);
    case "bytes":
      return bytesDecoder(settings);
    case "csv":
      return csvDecoder(settings.separator, settings.columns);
  }
}
