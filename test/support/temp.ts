// A folder for one test file, removed when its tests are done.
import { chmodSync, mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterAll } from "vitest";

export function temporaryFolder(name: string): string {
  const folder = mkdtempSync(join(tmpdir(), `flead-${name}-`));
  chmodSync(folder, 0o711); // under root, PostgreSQL runs as another user and has to pass through
  afterAll(() => rmSync(folder, { recursive: true, force: true }));
  return folder;
}
