// Numbers at fixed places of a binary payload, which may come as hex digits or base64.
import { MAX_PAYLOAD_BYTES } from "../../../../learning/telemetry/message.ts";
import { isRefusal } from "../../../../learning/telemetry/refusal.ts";
import type { ByteType, DecoderSettings } from "../settings.ts";
import { type Decoder, malformed, textOf, tooLarge } from "./text.ts";

type Settings = Extract<DecoderSettings, { kind: "bytes" }>;
type Read = (view: DataView, at: number) => number;

const READERS: Readonly<Record<ByteType, { readonly bytes: number; readonly read: Read }>> = {
  int8: { bytes: 1, read: (view, at) => view.getInt8(at) },
  uint8: { bytes: 1, read: (view, at) => view.getUint8(at) },
  int16le: { bytes: 2, read: (view, at) => view.getInt16(at, true) },
  int16be: { bytes: 2, read: (view, at) => view.getInt16(at) },
  uint16le: { bytes: 2, read: (view, at) => view.getUint16(at, true) },
  uint16be: { bytes: 2, read: (view, at) => view.getUint16(at) },
  int32le: { bytes: 4, read: (view, at) => view.getInt32(at, true) },
  int32be: { bytes: 4, read: (view, at) => view.getInt32(at) },
  uint32le: { bytes: 4, read: (view, at) => view.getUint32(at, true) },
  uint32be: { bytes: 4, read: (view, at) => view.getUint32(at) },
  float32le: { bytes: 4, read: (view, at) => view.getFloat32(at, true) },
  float32be: { bytes: 4, read: (view, at) => view.getFloat32(at) },
  float64le: { bytes: 8, read: (view, at) => view.getFloat64(at, true) },
  float64be: { bytes: 8, read: (view, at) => view.getFloat64(at) },
};

const HEX = /^(?:[0-9a-fA-F]{2})+$/;
const BASE64 = /^[A-Za-z0-9+/_-]+={0,2}$/;

export function bytesDecoder({ encoding, slices }: Settings): Decoder {
  const entries = Object.entries(slices);
  const needed = Math.max(...entries.map(([, { at, type }]) => at + READERS[type].bytes));
  return (payload) => {
    const bytes = rawBytes(payload, encoding);
    if (isRefusal(bytes)) return bytes;
    if (bytes.byteLength < needed) return malformed(`${bytes.byteLength} bytes; the slices need ${needed}`);
    const view = new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength);
    return { body: Object.fromEntries(entries.map(([name, { at, type }]) => [name, READERS[type].read(view, at)])) };
  };
}

function rawBytes(payload: Uint8Array, encoding: Settings["encoding"]) {
  if (encoding === "raw") return payload.byteLength > MAX_PAYLOAD_BYTES ? tooLarge(payload) : payload;
  const read = textOf(payload);
  if (isRefusal(read)) return read;
  const text = read.text.trim();
  if (!(encoding === "hex" ? HEX : BASE64).test(text)) return malformed(`the payload is not ${encoding}`);
  return encoding === "hex" ? hexBytes(text) : base64Bytes(text);
}

const hexBytes = (text: string) =>
  Uint8Array.from({ length: text.length / 2 }, (_, index) => Number.parseInt(text.slice(index * 2, index * 2 + 2), 16));

function base64Bytes(text: string) {
  try {
    return Uint8Array.from(atob(text.replaceAll("-", "+").replaceAll("_", "/")), (digit) => digit.charCodeAt(0));
  } catch {
    return malformed("the payload is not base64");
  }
}
