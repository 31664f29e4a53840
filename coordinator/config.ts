// What the coordinator is told by its environment.
import { z } from "zod";
import { type HostAndPort, hostAndPort, readConfig } from "../runtime/config.ts";
import { LOG_LEVELS } from "../runtime/log.ts";
import { isLoopback } from "./core/loopback.ts";

const fileList = z.string().transform((text) =>
  text
    .split(",")
    .map((file) => file.trim())
    .filter((file) => file !== ""),
);

const wholeNumber = (low: number, high: number) =>
  z
    .string()
    .regex(/^\d+$/, `must be a whole number from ${low} to ${high}`)
    .transform(Number)
    .refine((value) => value >= low && value <= high, `must be from ${low} to ${high}`);

const loopbackAddress = hostAndPort.refine(({ host }: HostAndPort) => isLoopback(host), {
  message:
    "must be on loopback (127.0.0.1, ::1, localhost): there is no transport security and no log-in to serve others",
});

export const coordinatorConfigSchema = z.object({
  /** Plan files (YAML), one a cohort, comma-separated; none: the cohorts the database already has. */
  FLEAD_PLANS: fileList.default([]),
  /** Folder with <cohort>/<stream>.csv; absent: nothing is evaluated. */
  FLEAD_HELD_OUT: z.string().optional(),
  FLEAD_DATA_DIR: z.string().default(".flead/coordinator"),
  FLEAD_GRPC_ADDRESS: loopbackAddress.prefault("127.0.0.1:7443"),
  FLEAD_HTTP_ADDRESS: loopbackAddress.prefault("127.0.0.1:8080"),
  /** Absent: the embedded PostgreSQL in FLEAD_DATA_DIR. */
  DATABASE_URL: z
    .string()
    .regex(/^postgres(ql)?:\/\//, "must begin with postgres:// or postgresql://")
    .optional(),
  /** So many of a cohort's newest versions keep their weights in the table of models; those of older ones are archived. */
  FLEAD_MODELS_AT_HAND: wholeNumber(1, 10_000).default(10),
  /** How long, and how many bytes in all, the archive keeps weights; 0: for ever, and without a limit. */
  FLEAD_ARCHIVE_DAYS: wholeNumber(0, 36_500).default(0),
  FLEAD_ARCHIVE_BYTES: wholeNumber(0, Number.MAX_SAFE_INTEGER).default(1024 ** 3),
  FLEAD_LOG_LEVEL: z.enum(LOG_LEVELS).default("info"),
});

export type CoordinatorConfig = Readonly<z.output<typeof coordinatorConfigSchema>>;

export function readCoordinatorConfig(env: Readonly<Record<string, string | undefined>>): CoordinatorConfig {
  return readConfig(coordinatorConfigSchema, env);
}
