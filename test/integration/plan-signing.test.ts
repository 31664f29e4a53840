import { generateKeyPairSync, randomBytes } from "node:crypto";
import { existsSync, readFileSync, statSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import Database from "better-sqlite3";
import { pino } from "pino";
import { afterEach, expect, test } from "vitest";
import { readAgentConfig } from "../../agent/config.ts";
import { startAgent } from "../../agent/main.ts";
import { openPlanSigner, type PlanSigner } from "../../coordinator/adapters/signing-key.ts";
import { isSignedBy } from "../../proto/plan-signature.ts";
import { eventually } from "../support/eventually.ts";
import { planChanged, ScriptedCoordinator, testPlan } from "../support/scripted-coordinator.ts";
import { smallSettings } from "../support/small-plan.ts";
import { temporaryFolder } from "../support/temp.ts";

const COHORT = "pumps";
const OLD = testPlan(smallSettings());
const NEW = testPlan({ ...smallSettings(), commissioningRows: 20 });

const cleanup: (() => Promise<void> | void)[] = [];
afterEach(async () => {
  for (const work of cleanup.splice(0).reverse()) await work();
});

const aSigner = () => openPlanSigner(undefined, temporaryFolder("signer"));

async function openCoordinator(signer: PlanSigner | null): Promise<ScriptedCoordinator> {
  const coordinator = await ScriptedCoordinator.start();
  cleanup.push(() => coordinator.close());
  for (const plan of [OLD, NEW]) coordinator.hold(plan);
  if (signer !== null) signedBy(coordinator, signer);
  return coordinator;
}

function signedBy(coordinator: ScriptedCoordinator, { planKey, sign }: PlanSigner): void {
  coordinator.signs = (planId) => ({ signature: sign(planId), publicKey: planKey });
}

/** Neither broker nor sensors: plans alone. */
async function openAgent({ port }: ScriptedCoordinator, folder: string, planKey = "") {
  const lines: string[] = [];
  const config = readAgentConfig({
    FLEAD_GATEWAY_ID: "gw-1",
    FLEAD_AGENT_HTTP: "off",
    FLEAD_MQTT_URL: "mqtt://127.0.0.1:1",
    FLEAD_COORDINATOR: `127.0.0.1:${port}`,
    FLEAD_DATA_DIR: folder,
    FLEAD_COHORTS: `${COHORT}=*`,
    FLEAD_PLAN_KEY: planKey,
  });
  const agent = await startAgent(config, pino({ level: "debug" }, { write: (line) => lines.push(line) }));
  let closed: Promise<void> | null = null;
  const close = () => {
    closed ??= agent.close();
    return closed;
  };
  cleanup.push(close);
  return { lines, close };
}

function planHeld(folder: string): string | undefined {
  const file = join(folder, "agent.sqlite");
  if (!existsSync(file)) return undefined;
  const database = new Database(file, { readonly: true });
  try {
    return database.prepare<[], { plan_id: string }>("SELECT plan_id FROM cohorts").get()?.plan_id;
  } finally {
    database.close();
  }
}

const holds = (folder: string, { planId }: { planId: string }) =>
  eventually(`the agent holds plan ${planId}`, () => (planHeld(folder) === planId ? true : undefined), 15_000);
const refuses = (lines: string[]) =>
  eventually("the plan is refused", () => lines.find((line) => line.includes("plan_refused")), 15_000);

test("the key made at the first start is there at the second, for its owner alone", async () => {
  const folder = temporaryFolder("signing-key");
  const first = await openPlanSigner(undefined, folder);
  const second = await openPlanSigner(undefined, folder);
  expect(second.planKey).toBe(first.planKey);
  expect(isSignedBy(first.planKey, OLD.planId, second.sign(OLD.planId))).toBe(true);
  const file = join(folder, "signing-key.pem");
  expect(statSync(file).mode & 0o777).toBe(0o600);
  expect(readFileSync(file, "utf8")).toContain("PRIVATE KEY");
});

test("coordinators that are given one file sign with one key; a file that holds none is named", async () => {
  const file = join(temporaryFolder("shared-key"), "key.pem");
  writeFileSync(file, generateKeyPairSync("ed25519").privateKey.export({ type: "pkcs8", format: "pem" }));
  const [one, other] = [await openPlanSigner(file, "/nowhere"), await openPlanSigner(file, "/nowhere")];
  expect(one.planKey).toBe(other.planKey);
  writeFileSync(file, generateKeyPairSync("x25519").privateKey.export({ type: "pkcs8", format: "pem" }));
  await expect(openPlanSigner(file, "/nowhere")).rejects.toThrow(`signing key ${file}: it is no Ed25519 private key`);
  await expect(openPlanSigner(`${file}.absent`, "/nowhere")).rejects.toThrow(/signing key .*absent: ENOENT/);
});

test("a signature is one plan's by one key, and no other", async () => {
  const [one, other] = [await aSigner(), await aSigner()];
  const signature = one.sign(OLD.planId);
  expect(isSignedBy(one.planKey, OLD.planId, signature)).toBe(true);
  expect(isSignedBy(one.planKey, NEW.planId, signature)).toBe(false);
  expect(isSignedBy(other.planKey, OLD.planId, signature)).toBe(false);
  expect(isSignedBy("A".repeat(43), OLD.planId, signature)).toBe(false);
  expect(isSignedBy("no key", OLD.planId, signature)).toBe(false);
  expect(isSignedBy(one.planKey, OLD.planId, Buffer.alloc(0))).toBe(false);
});

test("an agent trusts the key of its first plan, refuses another's after a restart, and takes it when it is told to", async () => {
  const [signer, intruder] = [await aSigner(), await aSigner()];
  const coordinator = await openCoordinator(signer);
  coordinator.greeting = [planChanged(COHORT, OLD)];
  const folder = temporaryFolder("first-use");
  const first = await openAgent(coordinator, folder);
  await holds(folder, OLD);
  await first.close();

  signedBy(coordinator, intruder);
  coordinator.greeting = [planChanged(COHORT, NEW)];
  const second = await openAgent(coordinator, folder);
  const line = await refuses(second.lines);
  expect(line).toContain(`start the agent with FLEAD_PLAN_KEY=${intruder.planKey}`);
  expect(line).toContain(signer.planKey);
  await second.close();
  expect(planHeld(folder)).toBe(OLD.planId);

  const third = await openAgent(coordinator, folder, `${signer.planKey},${intruder.planKey}`);
  await holds(folder, NEW);
  await third.close();

  coordinator.greeting = [planChanged(COHORT, OLD)];
  await openAgent(coordinator, folder); // it kept the key that it was told of
  await holds(folder, OLD);
});

test("a gateway whose operator named a key takes the first plan from no other", async () => {
  const [signer, intruder] = [await aSigner(), await aSigner()];
  const coordinator = await openCoordinator(intruder);
  coordinator.greeting = [planChanged(COHORT, OLD)];
  const folder = temporaryFolder("named-key");
  const { lines } = await openAgent(coordinator, folder, signer.planKey);
  expect(await refuses(lines)).toContain(`trusts ${signer.planKey} (named by FLEAD_PLAN_KEY)`);
  expect(planHeld(folder)).toBeUndefined();
  signedBy(coordinator, signer);
  await holds(folder, OLD);
});

test("once a gateway knows a key, a plan that nobody signed is not used", async () => {
  const coordinator = await openCoordinator(await aSigner());
  coordinator.greeting = [planChanged(COHORT, OLD)];
  const folder = temporaryFolder("unsigned");
  const { lines } = await openAgent(coordinator, folder);
  await holds(folder, OLD);
  coordinator.signs = () => ({ signature: Buffer.alloc(0), publicKey: "" });
  coordinator.send(planChanged(COHORT, NEW));
  expect(await refuses(lines)).toContain("it is not signed");
  expect(planHeld(folder)).toBe(OLD.planId);
});

test("a plan whose signature is not its key's is not used", async () => {
  const signer = await aSigner();
  const coordinator = await openCoordinator(null);
  coordinator.signs = () => ({ signature: randomBytes(64), publicKey: signer.planKey });
  coordinator.greeting = [planChanged(COHORT, OLD)];
  const folder = temporaryFolder("forged");
  const { lines } = await openAgent(coordinator, folder);
  const line = await eventually("the refusal", () => lines.find((text) => text.includes("plan_fetch")));
  expect(line).toContain(`its signature is not one of key ${signer.planKey}`);
  expect(planHeld(folder)).toBeUndefined();
  coordinator.signs = () => ({ signature: Buffer.alloc(0), publicKey: "" });
  await holds(folder, OLD); // of a coordinator that signs nothing, as long as no key is known
});

test("a key that is none is refused at the start", () => {
  expect(() => readAgentConfig({ FLEAD_GATEWAY_ID: "gw-1", FLEAD_PLAN_KEY: "abc" })).toThrow(
    /FLEAD_PLAN_KEY: must be keys of 43 characters/,
  );
});
