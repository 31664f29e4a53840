// The machine's clocks, and what its files say of who sets them; none of it needs native code or a child process.
import { existsSync, statSync } from "node:fs";
import { type ClockQuality, type ClockState, readClock } from "../core/clock.ts";
import type { GatewayClock } from "../ports/clock.ts";

/** Where time services leave word. */
export interface SyncFiles {
  /** There as long as the clock is synchronised. */
  readonly present: readonly string[];
  /** Written about hourly, and only while the service follows a source. */
  readonly fresh: readonly string[];
}

/** systemd-timesyncd; chrony and ntpd, by Debian's names and Red Hat's. */
const SYNC_FILES: SyncFiles = {
  present: ["/run/systemd/timesync/synchronized"],
  fresh: [
    "/var/lib/chrony/chrony.drift",
    "/var/lib/chrony/drift",
    "/var/lib/ntpsec/ntp.drift",
    "/var/lib/ntp/ntp.drift",
    "/var/lib/ntp/drift",
  ],
};
const FRESH_MS = 3 * 3_600_000;
/** Files are looked at no more often. */
const FILES_MS = 10_000;

export interface SystemClockSettings {
  /** The clock was set, by as much. */
  readonly onStep: (steppedMs: number) => void;
  readonly files?: SyncFiles;
  readonly wallMs?: () => number;
  readonly steadyMs?: () => number;
}

export class SystemClock implements GatewayClock {
  readonly wallMs: () => number;
  readonly steadyMs: () => number;
  readonly #onStep: (steppedMs: number) => void;
  readonly #files: SyncFiles;
  #state: ClockState | null = null;
  #synchronised = false;
  #filesReadAtMs = Number.NEGATIVE_INFINITY;

  constructor({ onStep, files = SYNC_FILES, wallMs = Date.now, steadyMs = steadyNow }: SystemClockSettings) {
    this.wallMs = wallMs;
    this.steadyMs = steadyMs;
    this.#onStep = onStep;
    this.#files = files;
    this.quality();
  }

  quality(): ClockQuality {
    const look = { wallMs: this.wallMs(), steadyMs: this.steadyMs() };
    if (look.steadyMs - this.#filesReadAtMs >= FILES_MS) {
      this.#filesReadAtMs = look.steadyMs;
      this.#synchronised = isSynchronised(this.#files, look.wallMs);
    }
    const { state, quality, steppedMs } = readClock(this.#state, { ...look, synchronised: this.#synchronised });
    this.#state = state;
    if (steppedMs !== null) this.#onStep(steppedMs);
    return quality;
  }
}

const steadyNow = () => Math.floor(performance.timeOrigin + performance.now());

function isSynchronised({ present, fresh }: SyncFiles, wallMs: number): boolean {
  return present.some((path) => existsSync(path)) || fresh.some((path) => wallMs - modifiedMs(path) < FRESH_MS);
}

/** Long ago, when the file is not there or not to be seen. */
function modifiedMs(path: string): number {
  try {
    return statSync(path).mtimeMs;
  } catch {
    return Number.NEGATIVE_INFINITY;
  }
}
