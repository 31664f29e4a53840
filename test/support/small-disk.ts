// A disk that a test can fill.
import { execFileSync } from "node:child_process";
import { mkdirSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { onTestFinished } from "vitest";

const MIB = 1024 * 1024;

/** A file system of its own at `place`, gone with the test; null: this process may not mount one. */
export function smallDisk(place: string, bytes: number): string | null {
  mkdirSync(place);
  try {
    execFileSync("mount", ["-t", "tmpfs", "-o", `size=${bytes}`, "tmpfs", place], { stdio: "ignore" });
  } catch {
    return null;
  }
  onTestFinished(() => void execFileSync("umount", ["-l", place]));
  return place;
}

/** Another program takes all that is left: the file that holds it. */
export function fillUp(place: string): string {
  const file = join(place, "others");
  for (const chunk of [MIB, 4096, 1]) {
    try {
      for (;;) writeFileSync(file, Buffer.alloc(chunk), { flag: "a" });
    } catch {
      // full, for chunks of this size
    }
  }
  return file;
}
