// Rounds as texts that can be read: transcripts/*.txt. `vitest run -u` writes what comes out now; read what it changed.
import { readdirSync, readFileSync } from "node:fs";
import { join } from "node:path";
import { expect, test } from "vitest";
import { runTranscript } from "../support/round-transcript.ts";

const folder = join(import.meta.dirname, "transcripts");

test.each(readdirSync(folder))("%s", async (name) => {
  const file = join(folder, name);
  await expect(await runTranscript(readFileSync(file, "utf8"))).toMatchFileSnapshot(file);
});
