// Identifiers, typed so that they are never mixed, and checked before they meet a path, a topic or SQL.

export type GatewayId = string & { readonly __id: "gateway" };
export type DeviceId = string & { readonly __id: "device" };
export type CohortId = string & { readonly __id: "cohort" };
export type PlanId = string & { readonly __id: "plan" };
export type UpdateId = string & { readonly __id: "update" };

const NAME = /^[A-Za-z0-9][A-Za-z0-9_.-]{0,63}$/;
const PLAN_ID = /^[0-9a-f]{64}$/;
const ULID = /^[0-7][0-9A-HJKMNP-TV-Z]{25}$/;

export class InvalidIdError extends Error {
  constructor(what: string, given: string, allowed: string) {
    super(`${what} ${JSON.stringify(given.slice(0, 80))} is not valid: ${allowed}`);
    this.name = "InvalidIdError";
  }
}

const NAME_RULE = "1 to 64 letters, digits, '_', '.' or '-', beginning with a letter or digit";

function checked<Id extends string>(what: string, pattern: RegExp, rule: string) {
  return (given: string): Id => {
    if (!pattern.test(given)) throw new InvalidIdError(what, given, rule);
    return given as Id;
  };
}

export const gatewayId = checked<GatewayId>("gateway id", NAME, NAME_RULE);
export const deviceId = checked<DeviceId>("device id", NAME, NAME_RULE);
export const cohortId = checked<CohortId>("cohort id", NAME, NAME_RULE);
export const planId = checked<PlanId>("plan id", PLAN_ID, "the SHA-256 of the plan, 64 lower-case hex digits");
export const updateId = checked<UpdateId>("update id", ULID, "a ULID of 26 characters");

/** Who signs plans: the 32 bytes of an Ed25519 public key, base64url without padding. */
export const PLAN_KEY = /^[A-Za-z0-9_-]{43}$/;
