// The readings of one message: what it says of one device at one time is one of them.
import type { DeviceId } from "../../../learning/ids.ts";
import type { Reading } from "../../../learning/telemetry/default-mapping.ts";
import { type Refusal, refusal } from "../../../learning/telemetry/refusal.ts";
import type { Said } from "./channels.ts";
import { type Outcome, outcome } from "./outcome.ts";

export class MessageRows {
  readonly #receivedAtMs: number;
  readonly #rows = new Map<string, Row>();
  readonly #refusals: Refusal[] = [];

  constructor(receivedAtMs: number) {
    this.#receivedAtMs = receivedAtMs;
  }

  refuse(why: Refusal): void {
    this.#refusals.push(why);
  }

  of(deviceId: DeviceId, atMs: number): Row {
    const key = `${deviceId} ${atMs}`;
    const row = this.#rows.get(key) ?? new Row(deviceId, atMs, this.#refusals);
    this.#rows.set(key, row);
    return row;
  }

  outcome(): Outcome {
    const readings = [...this.#rows.values()].flatMap((row) => row.reading(this.#receivedAtMs) ?? []);
    if (readings.length === 0 && this.#refusals.length === 0)
      this.refuse(refusal("missing_channel", "the message has no value of any channel"));
    return outcome({ readings, refusals: this.#refusals });
  }
}

class Row implements Said {
  readonly values = new Map<string, number>();
  readonly units = new Map<string, string>();
  readonly refusals: Refusal[];
  readonly #deviceId: DeviceId;
  readonly #atMs: number;
  #label: 0 | 1 | null = null;
  #labelRefusal: Refusal | null = null;

  constructor(deviceId: DeviceId, atMs: number, refusals: Refusal[]) {
    this.#deviceId = deviceId;
    this.#atMs = atMs;
    this.refusals = refusals;
  }

  /** A label that can't be read, or differs from another, leaves a reading without one. */
  label(said: 0 | 1 | null | Refusal): void {
    if (said === null) return;
    if (typeof said === "object") this.#labelRefusal ??= said;
    else if (this.#label !== null && this.#label !== said)
      this.#labelRefusal ??= refusal("bad_label", "the message says two labels of one device and time");
    else this.#label = said;
  }

  reading(receivedAtMs: number): Reading | null {
    if (this.values.size === 0) return null;
    const { values, units } = this;
    const reading = { deviceId: this.#deviceId, atMs: this.#atMs, receivedAtMs, values, units };
    if (this.#labelRefusal === null) return { ...reading, label: this.#label };
    return { ...reading, label: null, labelRefusal: this.#labelRefusal };
  }
}
