// Keeps the programs that run for months small: for their work Node's and glibc's defaults hold memory that is never used.
import { setFlagsFromString } from "node:v8";

/**
 * Otherwise each of Node's ten threads keeps freed memory in an arena of its own: 6-10 MB. glibc reads it before main(),
 * so whoever starts a program sets it: the demo for its programs, a container image for its own.
 */
export const MALLOC_SETTINGS = { MALLOC_ARENA_MAX: "1" };

/** To be called before anything else is loaded. */
export function saveMemory(): void {
  // The young generation stays at the 1 MB it begins with instead of growing to 16: 20-30 MB for a few per cent of rows/s.
  setFlagsFromString("--semi-space-growth-factor=1");
  // V8 collects the old generation before it has grown by more than that. --optimize-for-size would collect it sooner, for
  // more time a row and half a coordinator's speed: rows in a batch, and updates in a commit, live just long enough to
  // fill it.
  setFlagsFromString("--heap-growing-percent=40");
}
