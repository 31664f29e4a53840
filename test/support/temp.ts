// Folders for one test file, removed when its tests are done.
import { chmodSync, mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterAll } from "vitest";

const made: string[] = [];

// Here, for a hook that a test registers while it runs is never called.
afterAll(() => {
  for (const folder of made) rmSync(folder, { recursive: true, force: true });
});

export function temporaryFolder(name: string): string {
  const folder = mkdtempSync(join(tmpdir(), `flead-${name}-`));
  made.push(folder);
  chmodSync(folder, 0o711); // under root, PostgreSQL runs as another user and has to pass through
  return folder;
}
