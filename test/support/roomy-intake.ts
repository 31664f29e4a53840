// The intake of a test's database, with limits that no test reaches by accident.
import type { Database } from "../../coordinator/adapters/database.ts";
import { type IntakeLimits, openIntake, type UpdateIntake } from "../../coordinator/adapters/update-intake.ts";

export const ROOMY: IntakeLimits = {
  maxWaitingUpdates: 1_000,
  maxWaitingBytes: 16 * 1024 * 1024,
  maxOpenUpdates: 10_000,
  maxOpenBytes: 1024 ** 3,
  maxOpenUpdatesOfAGateway: 10_000,
};

const intakes = new WeakMap<Database, UpdateIntake>();

/** One a database, whose connections end with it. */
export function roomyIntake(database: Database): UpdateIntake {
  const intake = intakes.get(database) ?? openIntake(database, ROOMY);
  intakes.set(database, intake);
  return intake;
}
