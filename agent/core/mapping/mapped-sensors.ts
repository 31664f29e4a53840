// A mapping with memory: what comes in parts is aligned to rows, and devices' words hold until others come.
import type { DeviceId } from "../../../learning/ids.ts";
import type { Reading } from "../../../learning/telemetry/default-mapping.ts";
import { type Refusal, refusal } from "../../../learning/telemetry/refusal.ts";
import { Aligner } from "../align.ts";
import type { Mapping } from "./mapping.ts";
import type { Rhythm, Word } from "./outcome.ts";
import {
  type Heard,
  NOTHING_HEARD,
  type Notice,
  type SensorReader,
  type SiteMessage,
  type Topic,
} from "./sensor-reader.ts";

interface Pulse {
  heardAtMs: number;
  staleAfterMs: number;
  silent: boolean;
}

const MAX_DEVICES = 2_000;

/** Bounded: devices beyond 2,000 are read, but not remembered. */
export class MappedSensors implements SensorReader {
  readonly #mapping: Mapping;
  readonly #steadyMs: () => number;
  readonly #aligner = new Aligner();
  readonly #labels = new Map<DeviceId, 0 | 1>();
  readonly #offline = new Set<DeviceId>();
  readonly #pulses = new Map<DeviceId, Pulse>();

  /** `steadyMs`: a clock that nobody sets, by which devices are silent and rows wait. */
  constructor(mapping: Mapping, steadyMs: () => number) {
    this.#mapping = mapping;
    this.#steadyMs = steadyMs;
  }

  topics(broker: string): readonly Topic[] {
    return this.#mapping.topics(broker);
  }

  read(message: SiteMessage): Heard {
    const nowMs = this.#steadyMs();
    const { readings, refusals, words, commands, rhythm } = this.#mapping.read(message);
    const said = words.map((word) => this.#hear(word));
    const notices = said.flatMap(({ notice }) => notice ?? []);
    const unheard = said.flatMap(({ refused }) => refused ?? []);
    if (rhythm !== null) for (const { deviceId } of readings) this.#beat(deviceId, nowMs, rhythm);
    if (rhythm === null || rhythm.rowEveryMs === null)
      return { readings: this.#labelled(readings), refusals: [...refusals, ...unheard], commands, notices };
    const settings = { rowEveryMs: rhythm.rowEveryMs, staleAfterMs: rhythm.staleAfterMs };
    const unaligned = readings.flatMap((reading) => this.#aligner.add(reading, settings, nowMs) ?? []);
    return { readings: [], refusals: [...refusals, ...unheard, ...unaligned], commands, notices };
  }

  due(wallMs: number): Heard {
    const nowMs = this.#steadyMs();
    const notices: Notice[] = [];
    for (const [deviceId, pulse] of this.#pulses) {
      const quietMs = nowMs - pulse.heardAtMs;
      if (pulse.silent || quietMs <= pulse.staleAfterMs) continue;
      pulse.silent = true;
      const detail = `nothing was heard of the device for ${Math.round(quietMs)} ms; at most ${pulse.staleAfterMs} ms are expected`;
      notices.push({ kind: "device_silent", deviceId, detail });
    }
    return { ...NOTHING_HEARD, readings: this.#labelled(this.#aligner.due({ wallMs, steadyMs: nowMs })), notices };
  }

  #hear(word: Word): { readonly notice?: Notice; readonly refused?: Refusal } {
    const { deviceId } = word;
    if (word.kind === "label") {
      if (this.#labels.size >= MAX_DEVICES && !this.#labels.has(deviceId)) return { refused: tooMany("labels") };
      this.#labels.set(deviceId, word.label);
      return {};
    }
    if (word.online) {
      this.#offline.delete(deviceId);
      return {};
    }
    this.#aligner.forget(deviceId);
    this.#pulses.delete(deviceId);
    if (this.#offline.has(deviceId)) return {};
    if (this.#offline.size >= MAX_DEVICES) return { refused: tooMany("devices that are offline") };
    this.#offline.add(deviceId);
    return { notice: { kind: "device_offline", deviceId, detail: "its source says that the device is offline" } };
  }

  #beat(deviceId: DeviceId, heardAtMs: number, { staleAfterMs }: Rhythm): void {
    const pulse = this.#pulses.get(deviceId);
    if (pulse !== undefined) Object.assign(pulse, { heardAtMs, staleAfterMs, silent: false });
    else if (this.#pulses.size < MAX_DEVICES) this.#pulses.set(deviceId, { heardAtMs, staleAfterMs, silent: false });
  }

  /** By what its message says, else by what the device's label topic said last. */
  #labelled(readings: readonly Reading[]): Reading[] {
    return readings.map((reading) => {
      const label = this.#labels.get(reading.deviceId);
      return label === undefined || reading.label !== null ? reading : { ...reading, label };
    });
  }
}

const tooMany = (what: string) => refusal("device_limit", `${what} of at most ${MAX_DEVICES} devices are remembered`);
