// What the coordinator is told by its environment.
import { z } from "zod";
import { PLAN_KEY } from "../learning/ids.ts";
import { type HostAndPort, hostAndPort, readConfig } from "../runtime/config.ts";
import { LOG_LEVELS } from "../runtime/log.ts";
import type { HeldOutLimits } from "./core/held-out.ts";
import { isLoopback } from "./core/loopback.ts";
import { type LimitedTable, type Limits, TABLE_LIMITS } from "./core/maintenance.ts";

const fileList = z.string().transform((text) =>
  text
    .split(",")
    .map((file) => file.trim())
    .filter((file) => file !== ""),
);

const loopbackAddress = hostAndPort.refine(({ host }: HostAndPort) => isLoopback(host), {
  message:
    "must be on loopback (127.0.0.1, ::1, localhost): there is no transport security and no log-in to serve others",
});

const atLeastOne = z.coerce.number("must be a number").int().min(1);
/** `table=value,table=value`: of tables that TABLE_LIMITS names, in place of their defaults; a value of 0 is no limit. */
const perTable = (value: RegExp, allowed: string, parse: (text: string) => number) =>
  z
    .string()
    .default("")
    .transform((text, context) => {
      const given: [string, number | null][] = [];
      for (const part of text.split(",").filter((each) => each.trim() !== "")) {
        const [table = "", limit = ""] = part.split("=").map((word) => word.trim());
        if (!Object.hasOwn(TABLE_LIMITS, table) || !value.test(limit)) {
          const tables = Object.keys(TABLE_LIMITS).join(", ");
          context.addIssue({ code: "custom", message: `must be <table>=<${allowed}>,…; tables: ${tables}` });
          return z.NEVER;
        }
        given.push([table, parse(limit) || null]);
      }
      return Object.fromEntries(given) as Partial<Record<LimitedTable, number | null>>;
    });

const BYTE_UNITS: Readonly<Record<string, number>> = { MB: 2 ** 20, GB: 2 ** 30, TB: 2 ** 40 };
const bytes = (text: string) => Number(text.replace(/[MGT]B$/, "")) * (BYTE_UNITS[text.slice(-2)] ?? 1);
const someBytes = z
  .string()
  .regex(/^[1-9]\d{0,8}([MG]B)?$/, "must be bytes, MB or GB")
  .transform(bytes);

export const coordinatorConfigSchema = z.object({
  /** Plan files (YAML), one a cohort, comma-separated; none: the cohorts the database already has. */
  FLEAD_PLANS: fileList.default([]),
  /** Folder with <cohort>/<stream>.csv, put into the database at start. */
  FLEAD_HELD_OUT: z.string().optional(),
  /** The broker that live streams come from; absent: there are none. */
  FLEAD_MQTT_URL: z
    .string()
    .regex(/^(mqtts?|wss?|tcp|tls|ssl):\/\/\S+$/, "must be a URL such as mqtt://127.0.0.1:1883")
    .optional(),
  /** Files that hold the name and the password to log in to it with, and who may sign its certificate (PEM). */
  FLEAD_MQTT_USER_FILE: z.string().optional(),
  FLEAD_MQTT_PASSWORD_FILE: z.string().optional(),
  FLEAD_MQTT_CA_FILE: z.string().optional(),
  FLEAD_DATA_DIR: z.string().default(".flead/coordinator"),
  /** A gateway that was not seen for so long keeps no plan alive that its cohort is leaving. */
  FLEAD_PLAN_ABSENCE_HOURS: z.coerce.number("must be a number").min(0.0001).max(8_760).default(24),
  /** Ed25519 private key (PKCS #8 PEM) that signs plans; absent: signing-key.pem in FLEAD_DATA_DIR, made where there is none. */
  FLEAD_SIGNING_KEY_FILE: z.string().optional(),
  /** The public key in whose place this coordinator's comes; absent: another one than the database knows is refused. */
  FLEAD_PLAN_KEY_BEFORE: z
    .string()
    .regex(PLAN_KEY, "must be a key of 43 characters, as the coordinator logs its own")
    .optional(),
  FLEAD_GRPC_ADDRESS: loopbackAddress.prefault("127.0.0.1:7443"),
  FLEAD_HTTP_ADDRESS: loopbackAddress.prefault("127.0.0.1:8080"),
  /** Absent: the embedded PostgreSQL in FLEAD_DATA_DIR. */
  DATABASE_URL: z
    .string()
    .regex(/^postgres(ql)?:\/\//, "must begin with postgres:// or postgresql://")
    .optional(),
  /** So many of a cohort's newest versions keep their weights in the table of models; those of older ones are archived. */
  FLEAD_MODELS_AT_HAND: z
    .string()
    .regex(/^[1-9]\d{0,3}$/, "must be a whole number from 1 to 9999")
    .transform(Number)
    .prefault("10"),
  /** Updates that wait to be committed, in all. */
  FLEAD_MAX_WAITING_UPDATES: atLeastOne.default(4_096),
  FLEAD_MAX_WAITING_MB: atLeastOne.default(32),
  /** Updates of a cohort that are stored and that no round has counted yet. */
  FLEAD_MAX_OPEN_UPDATES: atLeastOne.default(100_000),
  FLEAD_MAX_OPEN_MB: atLeastOne.default(4_096),
  FLEAD_MAX_OPEN_UPDATES_OF_A_GATEWAY: atLeastOne.default(1_000),
  FLEAD_MAX_SESSIONS: atLeastOne.default(10_000),
  FLEAD_NEW_SESSIONS_PER_SECOND: atLeastOne.default(500),
  /** Of one held-out stream as it is given, and of a cohort's in all. */
  FLEAD_HELD_OUT_STREAM_BYTES: someBytes.prefault("32MB"),
  FLEAD_HELD_OUT_BYTES: someBytes.prefault("256MB"),
  /** Held-out streams a cohort. */
  FLEAD_HELD_OUT_STREAMS: z
    .string()
    .regex(/^[1-9]\d{0,2}$/, "must be a whole number from 1 to 999")
    .transform(Number)
    .prefault("64"),
  /** Days that a table's rows are kept. */
  FLEAD_RETENTION_DAYS: perTable(/^\d{1,5}$/, "days, 0 for ever", Number),
  /** What a table may take of the disk. */
  FLEAD_TABLE_BYTES: perTable(/^\d{1,7}([MGT]B)?$/, "bytes, MB, GB or TB, 0 without limit", bytes),
  FLEAD_LOG_LEVEL: z.enum(LOG_LEVELS).default("info"),
});

export type CoordinatorConfig = Readonly<z.output<typeof coordinatorConfigSchema>>;

export function readCoordinatorConfig(env: Readonly<Record<string, string | undefined>>): CoordinatorConfig {
  return readConfig(coordinatorConfigSchema, env);
}

export const heldOutLimits = (config: CoordinatorConfig): HeldOutLimits => ({
  bytesAStream: config.FLEAD_HELD_OUT_STREAM_BYTES,
  bytesACohort: config.FLEAD_HELD_OUT_BYTES,
  streamsACohort: config.FLEAD_HELD_OUT_STREAMS,
});

export function tableLimits(config: CoordinatorConfig): Limits {
  const { FLEAD_RETENTION_DAYS: days, FLEAD_TABLE_BYTES: sizes } = config;
  const limitsOf = (table: LimitedTable) => {
    const { retentionDays, maxBytes } = { ...TABLE_LIMITS[table] };
    return {
      retentionDays: days[table] === undefined ? retentionDays : days[table],
      maxBytes: sizes[table] === undefined ? maxBytes : sizes[table],
    };
  };
  const tables = Object.keys(TABLE_LIMITS) as LimitedTable[];
  return Object.fromEntries(tables.map((table) => [table, limitsOf(table)])) as Limits;
}
