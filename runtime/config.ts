// Configuration is read once into a frozen, typed object; a wrong value names its key, what was given and what is allowed.
import { z } from "zod";

export class ConfigError extends Error {
  constructor(lines: readonly string[]) {
    super(`configuration is not valid:\n${lines.map((line) => `  ${line}`).join("\n")}`);
    this.name = "ConfigError";
  }
}

/** Names of variables whose value must not be printed. */
const SECRET = /PASSWORD|SECRET|TOKEN|DATABASE_URL|MQTT_URL/;

/** Reads the variables named by `schema` from `env`; an empty value counts as absent. Throws ConfigError with every fault. */
export function readConfig<Shape extends z.ZodRawShape>(
  schema: z.ZodObject<Shape>,
  env: Readonly<Record<string, string | undefined>>,
): Readonly<z.output<z.ZodObject<Shape>>> {
  const given = Object.fromEntries(
    Object.keys(schema.shape).map((key) => [key, env[key] === "" ? undefined : env[key]] as const),
  );
  const parsed = schema.safeParse(given);
  if (parsed.success) return Object.freeze(parsed.data);
  throw new ConfigError(
    parsed.error.issues.map((issue) => {
      const key = String(issue.path[0] ?? "");
      const value = given[key];
      if (value === undefined) return `${key}: must be set`;
      const shown = SECRET.test(key) ? "the value given" : JSON.stringify(value);
      return `${key}: ${issue.message} (${shown})`;
    }),
  );
}

/** `host:port`, for example `127.0.0.1:7443`; an IPv6 host is written in brackets. */
export const hostAndPort = z
  .string()
  .regex(/^(\[[0-9a-fA-F:]+\]|[A-Za-z0-9.-]+):\d{1,5}$/, "must be host:port")
  .transform((text) => {
    const at = text.lastIndexOf(":");
    return { host: text.slice(0, at).replace(/^\[|\]$/g, ""), port: Number(text.slice(at + 1)) };
  })
  .refine(({ port }) => port <= 65_535, "the port must be at most 65535");

export type HostAndPort = z.output<typeof hostAndPort>;

const BYTE_UNITS: Readonly<Record<string, number>> = { "": 1, k: 1024, M: 1024 ** 2, G: 1024 ** 3 };

/** `1048576`, `1024k`, `1M`; `off` is null. */
export const bytesOrOff = (leastBytes: number) =>
  z
    .string()
    .regex(/^(\d{1,12}[kMG]?|off)$/, "must be a number of bytes, k, M or G after it, or off")
    .transform((text) => {
      if (text === "off") return null;
      return Number.parseInt(text, 10) * (BYTE_UNITS[text.replace(/\d+/, "")] ?? 1);
    })
    .refine((bytes) => bytes === null || bytes >= leastBytes, `must be at least ${leastBytes} bytes, or off`);

/** One address or several, comma-separated. */
export const hostsAndPorts = z
  .string()
  .transform((text) => text.split(",").map((address) => address.trim()))
  .pipe(z.array(hostAndPort).min(1).max(16));
