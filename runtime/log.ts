// Structured logs, one JSON line each on standard error; standard output belongs to what a command prints.
import { type Logger, pino } from "pino";

export type { Logger } from "pino";

export const LOG_LEVELS = ["debug", "info", "warn", "error", "silent"] as const;

export function createLogger(program: string, level: (typeof LOG_LEVELS)[number]): Logger {
  return pino(
    { name: program, level, base: { program }, timestamp: pino.stdTimeFunctions.isoTime },
    pino.destination(2),
  );
}
