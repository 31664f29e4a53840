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

/** A stream, or why it is none, of these very windows. */
interface Read {
  readonly sha256: string;
  readonly stream: HeldOutStream | string;
}

/** Gives the same object as long as nothing changes. One that a gateway trains on is refused. */
export function followLiveStreams(
  { windows, served, settings }: LiveSource,
  cohort: CohortId,
  manifest: Manifest,
): () => Promise<LiveHeldOut> {
  let standing: string | null = null;
  let known: LiveHeldOut = { streams: [], refused: new Map() };
  let read = new Map<string, Read>();

  const streamOf = async (device: string, sha256: string, keys: readonly LiveWindowKey[]) => {
    const contents: LiveContent[] = [];
    for (const key of keys) {
      const content = await windows.content(cohort, key);
      if (content !== null) contents.push(content);
    }
    return liveStream(manifest, device, sha256, contents);
  };
  const readOne = async (device: string, keys: readonly LiveWindowKey[]): Promise<Read> => {
    const isServed = await served.isServed(cohort, deviceId(device));
    const sha256 = sha256Of(Buffer.from(JSON.stringify([keys, isServed])));
    const before = read.get(device);
    if (before?.sha256 === sha256) return before;
    if (isServed) return { sha256, stream: SERVED };
    if (keys.length === 0) return { sha256, stream: "no window has closed yet" };
    return { sha256, stream: await streamOf(device, sha256, keys) };
  };

  return async () => {
    const devices = settings().map(({ device }) => device);
    const keys = devices.length === 0 ? [] : await windows.keys(cohort);
    const now = new Map<string, Read>();
    for (const device of devices) {
      const own = keys.filter((key) => key.device === device);
      now.set(device, await readOne(device, own));
    }
    const standingNow = JSON.stringify(Array.from(now, ([device, { sha256 }]) => [device, sha256]));
    if (standingNow === standing) return known;
    const streams: HeldOutStream[] = [];
    const refused = new Map<string, string>();
    for (const [device, { stream }] of now) {
      if (typeof stream === "string") refused.set(device, stream);
      else streams.push(stream);
    }
    standing = standingNow;
    read = now;
    known = { streams, refused };
    return known;
  };
}

const SERVED = "a gateway serves the device: it may train on what it would be measured on";

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
