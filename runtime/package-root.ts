// Where the package's own files lie (SQL, page, proto, plans), the same from sources and from dist/.
import { existsSync, readFileSync } from "node:fs";
import { dirname, join } from "node:path";

function findRoot(from: string): string {
  for (let folder = from; ; folder = dirname(folder)) {
    if (existsSync(join(folder, "package.json"))) return folder;
    if (folder === dirname(folder)) throw new Error(`no package.json above ${from}`);
  }
}

export const packageRoot = findRoot(import.meta.dirname);

/** Of FLEAD itself, as gateways and the coordinator tell each other. */
export const packageVersion = (
  JSON.parse(readFileSync(join(packageRoot, "package.json"), "utf8")) as { version: string }
).version;
