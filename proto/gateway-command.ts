// An operator's command to a gateway in JSON, as it comes over REST and is passed on between coordinators.
import { z } from "zod";

const cohort = z.string().max(64).describe("One of the gateway's");

export const gatewayCommandSchema = z.discriminatedUnion("action", [
  z.strictObject({ action: z.literal("send_report") }),
  z.strictObject({ action: z.literal("reconnect") }).describe("It comes back a moment later"),
  z
    .strictObject({ action: z.literal("activate_model"), cohort, globalVersion: z.int().min(1) })
    .describe("The gateway's candidate becomes its active model, whatever its trial said"),
  z
    .strictObject({ action: z.literal("roll_back_model"), cohort })
    .describe("The gateway's model before becomes active, until a newer one comes"),
]);
