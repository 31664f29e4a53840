// The key that signs plans: an operator's file, which all coordinators of a fleet share, or one made at the first start.
import { createPrivateKey, generateKeyPairSync, type KeyObject } from "node:crypto";
import { link, mkdir, readFile, rm, writeFile } from "node:fs/promises";
import { join } from "node:path";
import type { PlanId } from "../../learning/ids.ts";
import { planKeyOf, signPlan } from "../../proto/plan-signature.ts";

export interface PlanSigner {
  /** What agents know the signer by. */
  readonly planKey: string;
  sign(planId: PlanId): Buffer;
}

/** `file`: the operator's, PKCS #8 PEM; absent: `signing-key.pem` in `dataDir`, made where there is none. Throws with the file and why. */
export async function openPlanSigner(file: string | undefined, dataDir: string): Promise<PlanSigner> {
  const path = file ?? join(dataDir, "signing-key.pem");
  if (file === undefined) await makeKeyOnce(dataDir, path);
  const key = await readKey(path);
  return { planKey: planKeyOf(key), sign: (planId) => signPlan(key, planId) };
}

async function readKey(path: string): Promise<KeyObject> {
  try {
    const key = createPrivateKey(await readFile(path));
    planKeyOf(key);
    return key;
  } catch (cause) {
    throw new Error(`signing key ${path}: ${(cause as Error).message}`, { cause });
  }
}

/** A key is whole or absent, and an existing one stays: the gateways know it. */
async function makeKeyOnce(dataDir: string, path: string): Promise<void> {
  await mkdir(dataDir, { recursive: true });
  const made = generateKeyPairSync("ed25519").privateKey.export({ type: "pkcs8", format: "pem" });
  const whole = `${path}.${process.pid}`;
  await writeFile(whole, made, { mode: 0o600, flush: true });
  await link(whole, path)
    .catch((error: NodeJS.ErrnoException) => {
      if (error.code !== "EEXIST") throw error;
    })
    .finally(() => rm(whole, { force: true }));
}
