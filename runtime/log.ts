// Structured logs, one JSON line each on standard error; standard output belongs to what a command prints.
import { type Logger, pino } from "pino";
import { LineBudget } from "./line-budget.ts";

export type { Logger } from "pino";

export const LOG_LEVELS = ["debug", "info", "warn", "error", "silent"] as const;

const FATAL = pino.levels.values.fatal ?? 60;

/** `linesAMinute`: of all but fatal ones; none: as many as there are. */
export function createLogger(
  program: string,
  level: (typeof LOG_LEVELS)[number],
  linesAMinute = Number.POSITIVE_INFINITY,
): Logger {
  const budget = new LineBudget(linesAMinute, () => performance.now());
  return pino(
    {
      name: program,
      level,
      base: { program },
      timestamp: pino.stdTimeFunctions.isoTime,
      hooks: {
        logMethod(given, write, lineLevel) {
          const { allowed, leftOut } = budget.take();
          if (leftOut > 0) write.apply(this, [{ leftOut }, `more than ${linesAMinute} lines in a minute`]);
          if (allowed || lineLevel >= FATAL) write.apply(this, given);
        },
      },
    },
    pino.destination(2),
  );
}
