// Programs from Debian that tests use as their users would. On a bare machine they may be missing: the tests that need
// them are then skipped by name; in CI, which installs them, missing is a failure.
import { existsSync } from "node:fs";

const FOLDERS = ["/usr/bin", "/usr/sbin", "/usr/local/bin"];

/** Path of the program, or null where the machine lacks it. Throws in CI. */
export function debianProgram(name: string, folders: readonly string[] = FOLDERS): string | null {
  const path = folders.map((folder) => `${folder}/${name}`).find(existsSync) ?? null;
  if (path === null && process.env.CI) throw new Error(`CI lacks ${name}: install it in .ci/run`);
  return path;
}
