// How to reach a broker, with what its files hold: user, password and certificates.
import { readFile } from "node:fs/promises";
import { resolve } from "node:path";
import type { IClientOptions } from "mqtt";
import type { BrokerSettings } from "./mapping-schema.ts";

export interface BrokerAddress {
  readonly name: string;
  readonly url: string;
  readonly options: IClientOptions;
}

/** `folder`: that paths are from. Throws with the broker, the key and the file that can't be read. */
export async function brokerAddress(
  settings: BrokerSettings,
  folder: string,
  clientId: string,
): Promise<BrokerAddress> {
  const { name, url, protocol, cleanSession, sessionExpirySeconds, serverName } = settings;
  const read = async (key: "userFile" | "passwordFile" | "caFile" | "certificateFile" | "keyFile") => {
    const file = settings[key];
    if (file === undefined) return undefined;
    try {
      return await readFile(resolve(folder, file), "utf8");
    } catch (cause) {
      throw new Error(`broker ${name}: ${key}: ${(cause as Error).message}`, { cause });
    }
  };
  const username = (await read("userFile"))?.trim();
  const password = (await read("passwordFile"))?.replace(/\r?\n$/, "");
  const [ca, cert, key] = [await read("caFile"), await read("certificateFile"), await read("keyFile")];
  return {
    name,
    url,
    options: {
      clientId: settings.clientId ?? clientId,
      protocolVersion: protocol === 5 ? 5 : 4,
      clean: cleanSession,
      ...(username !== undefined && { username }),
      ...(password !== undefined && { password }),
      ...(ca !== undefined && { ca }),
      ...(cert !== undefined && { cert }),
      ...(key !== undefined && { key }),
      ...(serverName !== undefined && { servername: serverName }),
      ...(sessionExpirySeconds !== undefined && { properties: { sessionExpiryInterval: sessionExpirySeconds } }),
    },
  };
}
