// Who vouches for a plan: an Ed25519 signature of its id, which is the hash of its bytes.
import { createPublicKey, type KeyObject, sign, verify } from "node:crypto";
import { PLAN_KEY, type PlanId } from "../learning/ids.ts";

/** So that a signature made for something else is never one of a plan. */
const signed = (planId: PlanId) => Buffer.from(`flead plan v1\n${planId}`);

export function planKeyOf(privateKey: KeyObject): string {
  const { x } = createPublicKey(privateKey).export({ format: "jwk" });
  if (privateKey.asymmetricKeyType !== "ed25519" || x === undefined) throw new Error("it is no Ed25519 private key");
  return x;
}

export function signPlan(privateKey: KeyObject, planId: PlanId): Buffer {
  return sign(null, signed(planId), privateKey);
}

/** Both untrusted; false, too, for a key that is none. */
export function isSignedBy(planKey: string, planId: PlanId, signature: Uint8Array): boolean {
  if (!PLAN_KEY.test(planKey)) return false;
  try {
    const key = createPublicKey({ key: { kty: "OKP", crv: "Ed25519", x: planKey }, format: "jwk" });
    return verify(null, signed(planId), key, signature);
  } catch {
    return false;
  }
}
