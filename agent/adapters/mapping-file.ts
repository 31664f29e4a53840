// A site's mapping, from the YAML file that an operator writes.
import { readFile } from "node:fs/promises";
import { parse } from "yaml";
import { describeFaults, namesAllowedKeys } from "../../proto/plan-schema.ts";
import { type MappingFile, mappingFileSchema } from "./mapping-schema.ts";

/** Throws with the file, the key, and what is allowed there. */
export async function readMappingFile(file: string): Promise<MappingFile> {
  try {
    return parseMappingFile(await readFile(file, "utf8"));
  } catch (cause) {
    throw new Error(`mapping ${file}: ${(cause as Error).message}`, { cause });
  }
}

/** Throws with the key and what is allowed there. */
export function parseMappingFile(text: string): MappingFile {
  const parsed = mappingFileSchema.safeParse(parse(text), { error: namesAllowedKeys });
  if (parsed.success) return parsed.data;
  throw new Error(describeFaults(parsed.error, "the file"));
}
