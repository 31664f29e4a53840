// A cohort's live streams as held-out streams, read from the database when they are others than before.
import { type CohortId, deviceId } from "../../learning/ids.ts";
import type { LiveStreamSettings, Manifest } from "../../learning/plan.ts";
import type { HeldOutStream } from "../core/evaluate.ts";
import { liveStream } from "../core/live-stream.ts";
import type { LiveContent, LiveWindowKey, LiveWindowStore } from "../ports/live-windows.ts";
import type { ServedDevices } from "../ports/served-devices.ts";
import { sha256Of } from "./held-out-csv.ts";

export interface LiveHeldOut {
  readonly streams: readonly HeldOutStream[];
  /** Why a device's stream is not among them. */
  readonly refused: ReadonlyMap<string, string>;
}

interface LiveSource {
  readonly windows: Pick<LiveWindowStore, "keys" | "content">;
  readonly served: Pick<ServedDevices, "isServed">;
  /** Those of the cohort as it is now. */
  readonly settings: () => readonly LiveStreamSettings[];
}

/** Gives the same object as long as nothing changes. One that a gateway trains on is refused. */
export function followLiveStreams(
  { windows, served, settings }: LiveSource,
  cohort: CohortId,
  manifest: Manifest,
): () => Promise<LiveHeldOut> {
  let standing: string | null = null;
  let known: LiveHeldOut = { streams: [], refused: new Map() };
  let contents = new Map<string, LiveContent>();

  const read = async (key: LiveWindowKey) => contents.get(nameOf(key)) ?? (await windows.content(cohort, key));
  const streamOf = async (device: string, keys: readonly LiveWindowKey[], isServed: boolean) => {
    if (isServed) throw new Error("a gateway serves the device: it may train on what it would be measured on");
    if (keys.length === 0) throw new Error("no window has closed yet");
    const read = keys.flatMap((key) => contents.get(nameOf(key)) ?? []);
    return liveStream(manifest, device, sha256Of(Buffer.from(JSON.stringify(keys))), read);
  };

  return async () => {
    const devices = settings().map(({ device }) => device);
    const keys = devices.length === 0 ? [] : await windows.keys(cohort);
    const isServed = new Map<string, boolean>();
    for (const device of devices) isServed.set(device, await served.isServed(cohort, deviceId(device)));
    const now = JSON.stringify([keys, [...isServed]]);
    if (now === standing) return known;
    const current = new Map<string, LiveContent>();
    for (const key of keys.filter(({ device }) => isServed.has(device))) {
      const content = await read(key);
      if (content !== null) current.set(nameOf(key), content);
    }
    contents = current;
    const streams: HeldOutStream[] = [];
    const refused = new Map<string, string>();
    for (const [device, is] of isServed) {
      const own = keys.filter((key) => key.device === device);
      await streamOf(device, own, is).then(
        (stream) => streams.push(stream),
        (error: Error) => refused.set(device, error.message),
      );
    }
    standing = now;
    known = { streams, refused };
    return known;
  };
}

const nameOf = ({ device, startMs, sha256 }: LiveWindowKey) => `${device} ${startMs} ${sha256}`;

/** Gives the same array as long as neither changes. */
export function together(
  frozen: () => Promise<readonly HeldOutStream[]>,
  live: () => Promise<LiveHeldOut>,
): () => Promise<readonly HeldOutStream[]> {
  let last: { frozen: readonly HeldOutStream[]; live: LiveHeldOut; all: readonly HeldOutStream[] } | null = null;
  return async () => {
    const now = { frozen: await frozen(), live: await live() };
    if (last?.frozen !== now.frozen || last.live !== now.live) {
      last = { ...now, all: [...now.frozen, ...now.live.streams] };
    }
    return last.all;
  };
}
