// A site's mapping, from the YAML file that an operator writes.
import { readFile } from "node:fs/promises";
import { parse } from "yaml";
import { describeFaults, namesAllowedKeys } from "../../proto/plan-schema.ts";
import { compileSubscription, type Route } from "../core/mapping/subscription.ts";
import {
  type BrokerSettings,
  brokerSchema,
  type MappingFile,
  mappingFileSchema,
  presetSubscriptions,
} from "./mapping-schema.ts";
import { sparkplugCodec } from "./sparkplug-codec.ts";

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

/** Of a broker as a file has it. Throws with the key and what is allowed there. */
export function parseBroker(given: unknown): BrokerSettings {
  const parsed = brokerSchema.safeParse(given, { error: namesAllowedKeys });
  if (parsed.success) return parsed.data;
  throw new Error(describeFaults(parsed.error, "the broker"));
}

/** What each preset reads, by its name; words before data. */
export const presetRoutes = (): ReadonlyMap<string, readonly Route[]> =>
  new Map(
    presetSubscriptions().map(({ preset, settings }) => {
      const { words, data } = compileSubscription(settings, sparkplugCodec);
      return [preset, [...words, data]] as const;
    }),
  );
