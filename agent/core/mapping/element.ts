// One thing that a message tells of: its device, its time, its channels and its label.
import type { DeviceId } from "../../../learning/ids.ts";
import type { Refusal } from "../../../learning/telemetry/refusal.ts";
import { type ChannelReader, compileChannel, compileFields } from "./channels.ts";
import { deviceOfName } from "./device-name.ts";
import { compileLabel } from "./label.ts";
import type { MessageRows } from "./message-rows.ts";
import { keysOf, valueAt } from "./path.ts";
import { MappingError, type SubscriptionSettings } from "./settings.ts";
import { type CompiledText, type Context, compileText, singlePath, within } from "./text-source.ts";
import { timeReader } from "./time.ts";

/** `saidAtMs`: its time, where no setting says where that is. */
export type ElementReader = (context: Context, saidAtMs: number, rows: MessageRows) => void;

/** Throws MappingError. */
export function compileElement(
  settings: SubscriptionSettings,
  names: readonly string[],
  at: readonly (string | number)[],
): ElementReader {
  if (settings.device === undefined)
    throw new MappingError([...at, "device"], "must be given, or a preset that has one");
  const device = compileText(settings.device, names, "the device", [...at, "device"]);
  const time = compileTime(settings, at);
  const label = settings.label === undefined ? null : compileLabel(settings.label, [...at, "label"]);
  const apart = new Set([device.path, time.path, label?.path].flatMap((path) => (path ? keysOf(path).slice(-1) : [])));
  const channels: ChannelReader[] = settings.channels.map((channel, index) =>
    compileChannel(channel, names, apart, [...at, "channels", index]),
  );
  if (settings.fields !== undefined) channels.push(compileFields(settings.fields, names, apart, [...at, "fields"]));
  if (channels.length === 0) throw new MappingError(at, "it needs channels, fields, or a preset that has them");
  return (context, saidAtMs, rows) => {
    const deviceId = deviceIn(device, context);
    const atMs = time.read(context, saidAtMs);
    if (isRefusalHere(deviceId)) rows.refuse(deviceId);
    else if (isRefusalHere(atMs)) rows.refuse(atMs);
    else {
      const row = rows.of(deviceId, atMs);
      for (const read of channels) read(context, row);
      if (label !== null) row.label(label.read(context));
    }
  };
}

const isRefusalHere = (given: DeviceId | number | Refusal): given is Refusal => typeof given === "object";

/** The device that a message is of. */
export function deviceIn(device: CompiledText, context: Context): DeviceId | Refusal {
  const name = device.read(context);
  return typeof name === "string" ? deviceOfName(name) : name;
}

function compileTime({ time }: SubscriptionSettings, at: readonly (string | number)[]) {
  if (time === undefined) return { path: null, read: (_: Context, saidAtMs: number): number | Refusal => saidAtMs };
  const path = singlePath(time.path, [...at, "time", "path"]);
  const read = within([...at, "time"], () => timeReader(time.format, time.zone));
  return {
    path,
    read: ({ top, here }: Context, saidAtMs: number) => {
      const given = valueAt(path, top, here);
      return given === undefined || given === null ? saidAtMs : read(given, time.path);
    },
  };
}
