// What the agent reads at its site: the brokers and the reader of their messages, by the mapping or the built-in one.
import { MappedSensors } from "../core/mapping/mapped-sensors.ts";
import { Mapping } from "../core/mapping/mapping.ts";
import { defaultReader, type SensorReader } from "../core/mapping/sensor-reader.ts";
import { type SiteBrokers, siteBrokers } from "./open-brokers.ts";
import { sparkplugCodec } from "./sparkplug-codec.ts";

export interface SiteSettings {
  readonly site: string;
  readonly clientId: string;
  readonly mqttUrl: string;
  /** Null: the built-in mapping. */
  readonly mappingFile: string | null;
}

/** `steadyMs`: a clock that nobody sets. Throws when the mapping, or a file that it names, can't be used. */
export async function openSite(
  { site, clientId, mqttUrl, mappingFile: file }: SiteSettings,
  steadyMs: () => number,
): Promise<{
  readonly sensors: SensorReader;
  readonly brokers: SiteBrokers;
}> {
  // Loaded where there is one: reading YAML takes memory that a gateway without a mapping keeps.
  const mapping = file === null ? null : await (await import("./mapping-file.ts")).readMappingFile(file);
  const sensors =
    mapping === null
      ? defaultReader(site)
      : new MappedSensors(new Mapping(mapping.subscriptions, sparkplugCodec), steadyMs);
  return { sensors, brokers: await siteBrokers(mapping, file ?? "", { url: mqttUrl, clientId }) };
}
