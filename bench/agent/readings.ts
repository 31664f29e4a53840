// What the benchmark's devices say: eight channels of noise, and far from it when they are to raise.
import { type Random, seededRandom } from "../../learning/random.ts";

export const CHANNELS = ["a", "b", "c", "d", "e", "f", "g", "h"] as const;
/** Readings that are made beforehand; each device goes through them from another place on. */
const VARIETY = 512;
const LEVEL = 20;
const FAR = 60;

export const deviceName = (index: number): string => `bench-${index}`;
export const SITE = "bench";
export const telemetryTopic = (index: number): string => `flead/v1/${SITE}/${deviceName(index)}/telemetry`;

/** Payloads without their time, which is put before them. */
export class Readings {
  readonly #normal: readonly string[];
  readonly #wrong: string;

  constructor(seed: number) {
    const random = seededRandom(seed);
    this.#normal = Array.from({ length: VARIETY }, () => valuesOf(random, LEVEL));
    this.#wrong = valuesOf(random, LEVEL + FAR);
  }

  payload(device: number, turn: number, atMs: number, wrong: boolean): string {
    const values = wrong ? this.#wrong : this.#normal[(device * 31 + turn) % VARIETY];
    return `{"timestamp":${atMs},${values}`;
  }
}

const valuesOf = (random: Random, level: number) =>
  `${CHANNELS.map((name) => `"${name}":${(level + random.normal()).toFixed(3)}`).join(",")}}`;
