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

const loopbackAddress = hostAndPort.refine(({ host }: HostAndPort) => isLoopback(host), {
  message:
    "must be on loopback (127.0.0.1, ::1, localhost): there is no transport security and no log-in to serve others",
});

const atLeastOne = z.coerce.number("must be a number").int().min(1);

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
  /** Updates that wait to be committed, in all. */
  FLEAD_MAX_WAITING_UPDATES: atLeastOne.default(4_096),
  FLEAD_MAX_WAITING_MB: atLeastOne.default(32),
  /** Updates of a cohort that are stored and that no round has counted yet. */
  FLEAD_MAX_OPEN_UPDATES: atLeastOne.default(100_000),
  FLEAD_MAX_OPEN_MB: atLeastOne.default(4_096),
  FLEAD_MAX_OPEN_UPDATES_OF_A_GATEWAY: atLeastOne.default(1_000),
  FLEAD_MAX_SESSIONS: atLeastOne.default(10_000),
  FLEAD_NEW_SESSIONS_PER_SECOND: atLeastOne.default(500),
  FLEAD_LOG_LEVEL: z.enum(LOG_LEVELS).default("info"),
});

export type CoordinatorConfig = Readonly<z.output<typeof coordinatorConfigSchema>>;

export function readCoordinatorConfig(env: Readonly<Record<string, string | undefined>>): CoordinatorConfig {
  return readConfig(coordinatorConfigSchema, env);
}
