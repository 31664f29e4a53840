// Limits that no test reaches by accident.
import type { IntakeLimits } from "../../coordinator/adapters/update-intake.ts";

export const roomyIntake: IntakeLimits = {
  maxWaitingUpdates: 1_000,
  maxWaitingBytes: 16 * 1024 * 1024,
  maxOpenUpdates: 10_000,
  maxOpenBytes: 1024 ** 3,
  maxOpenUpdatesOfAGateway: 10_000,
};
