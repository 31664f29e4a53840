import { execFileSync } from "node:child_process";
import { cpSync, mkdirSync, mkdtempSync, rmSync, symlinkSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { dirname, join } from "node:path";
import { afterAll, beforeAll, expect, test } from "vitest";
import { packageRoot } from "../../runtime/package-root.ts";

/** Each line: the file a violation is planted in, what it imports, and whether the arrows allow it. */
const IMPORTS: readonly [from: string, to: string, allowed: boolean][] = [
  ["learning/planted.ts", "node:fs", false],
  ["learning/planted.ts", "zod", false],
  ["learning/planted.ts", "@bufbuild/protobuf/wire", false],
  ["learning/models/planted.ts", "../../runtime/log.ts", false],
  ["learning/models/planted.ts", "../random.ts", true],
  ["runtime/planted.ts", "../coordinator/main.ts", false],
  ["runtime/planted.ts", "../learning/random.ts", true],
  ["proto/planted.ts", "../runtime/log.ts", false],
  ["agent/core/planted.ts", "../adapters/mqtt.ts", false],
  ["agent/core/planted.ts", "../../runtime/log.ts", false],
  ["agent/core/planted.ts", "mqtt", false],
  ["agent/core/planted.ts", "../../learning/random.ts", true],
  ["agent/adapters/planted.ts", "../main.ts", false],
  ["agent/adapters/planted.ts", "../../coordinator/ports/fleet.ts", false],
  ["agent/adapters/planted.ts", "../../proto/weights.ts", true],
  ["agent/planted.ts", "./adapters/mqtt.ts", false],
  ["agent/planted.ts", "./core/episode.ts", true],
  ["agent/main.ts", "../coordinator/config.ts", false],
  ["agent/main.ts", "./adapters/mqtt.ts", true],
  ["coordinator/core/planted.ts", "../adapters/database.ts", false],
  ["coordinator/core/planted.ts", "pg", false],
  ["coordinator/ports/planted.ts", "../../proto/weights.ts", false],
  ["coordinator/planted.ts", "./adapters/database.ts", false],
  ["coordinator/planted.ts", "./core/gate.ts", true],
  ["coordinator/adapters/planted.ts", "../../agent/config.ts", false],
  ["coordinator/adapters/planted.ts", "../ports/fleet.ts", true],
  ["coordinator/admin/planted.ts", "../adapters/database.ts", false],
  ["coordinator/admin/planted.ts", "../ports/fleet-queries.ts", true],
  ["cli/planted.ts", "../test/support/temp.ts", false],
  ["cli/planted.ts", "../coordinator/config.ts", true],
];

let folder: string;

beforeAll(() => {
  folder = mkdtempSync(join(tmpdir(), "flead-layers-"));
  cpSync(join(packageRoot, "biome.json"), join(folder, "biome.json"));
  cpSync(join(packageRoot, ".gitignore"), join(folder, ".gitignore"));
  symlinkSync(join(packageRoot, "node_modules"), join(folder, "node_modules"));
});

afterAll(() => rmSync(folder, { recursive: true, force: true }));

test.each(IMPORTS)("%s importing %s: allowed is %s", (from, to, allowed) => {
  const file = join(folder, from);
  mkdirSync(dirname(file), { recursive: true });
  writeFileSync(file, `import * as planted from ${JSON.stringify(to)};\n\nexport const use = planted;\n`);
  const biome = join(packageRoot, "node_modules/.bin/biome");
  const lint = () =>
    execFileSync(biome, ["lint", "--vcs-enabled=false", from], { cwd: folder, encoding: "utf8", stdio: "pipe" });
  try {
    if (allowed) expect(lint).not.toThrow();
    else expect(lint).toThrow(/noRestrictedImports/);
  } finally {
    rmSync(file);
  }
});
