// Every combining rule and server optimiser that a cohort's file can name, once each with a real round.
import { writeFileSync } from "node:fs";
import { join } from "node:path";
import { afterAll, beforeAll, expect, test } from "vitest";
import { readCoordinatorConfig } from "../../coordinator/config.ts";
import { type Coordinator, openCoordinator } from "../../coordinator/main.ts";
import { compilePlan } from "../../learning/compile-plan.ts";
import { weightCount } from "../../learning/plan.ts";
import { encodeBundle } from "../../proto/plan-bundle.ts";
import { decodeWeights, encodeWeights } from "../../proto/weights.ts";
import { createLogger } from "../../runtime/log.ts";
import { anUpdate, GatewayClient } from "../support/gateway-client.ts";
import { pumpPlan as plan } from "../support/plan-settings.ts";
import { temporaryFolder } from "../support/temp.ts";

const compiled = compilePlan(plan);
const { planId } = encodeBundle(compiled);
const parameters = weightCount(compiled.manifest.weights);

/** How far five gateways of 50 rows each pull every weight, in thousandths. */
const PULLS = [1, 2, 3.5, 5, 50];
/** Of a pull that moves every weight by so many thousandths. */
const norm = (thousandths: number) => (thousandths / 1000) * Math.sqrt(parameters);

interface Case {
  readonly federation: object;
  /** How far the champion moves, in thousandths. */
  readonly moves: number;
  readonly rule: string;
  /** What the gateway that pulls farthest is told of its part. */
  readonly part: "counted" | "clipped" | "excluded";
}

const MEDIAN = { kind: "median" };
const CASES: Readonly<Record<string, Case>> = {
  fedavg: { federation: { rule: { kind: "fedavg" } }, moves: 61.5 / 5, rule: "fedavg", part: "counted" },
  "fedavg-clipped-to-median": {
    federation: { rule: { kind: "fedavg", clip: { medianMultiple: 1 } } },
    moves: (1 + 2 + 3.5 + 3.5 + 3.5) / 5,
    rule: "fedavg",
    part: "clipped",
  },
  "fedavg-clipped-to-norm": {
    federation: { rule: { kind: "fedavg", clip: { maxNorm: norm(2) } } },
    moves: (1 + 2 + 2 + 2 + 2) / 5,
    rule: "fedavg",
    part: "clipped",
  },
  median: { federation: { rule: MEDIAN }, moves: 3.5, rule: "median", part: "counted" },
  "trimmed-mean": {
    federation: { rule: { kind: "trimmed_mean", share: 0.2 } },
    moves: (2 + 3.5 + 5) / 3,
    rule: "trimmed_mean",
    part: "counted",
  },
  // Scores over two neighbours: 7.25, 3.25, 4.5, 11.25, and far.
  krum: { federation: { rule: { kind: "krum", faultyShare: 0.2 } }, moves: 2, rule: "krum", part: "excluded" },
  "multi-krum": {
    federation: { rule: { kind: "multi_krum", faultyShare: 0.2 } },
    moves: (1 + 2 + 3.5 + 5) / 4,
    rule: "multi_krum",
    part: "excluded",
  },
  "multi-krum-clipped": {
    federation: { rule: { kind: "multi_krum", faultyShare: 0.2, clip: { medianMultiple: 1 } } },
    // Clipped to 1, 2, 3.5, 3.5, 3.5: the first is now the farthest.
    moves: (2 + 3.5 + 3.5 + 3.5) / 4,
    rule: "multi_krum",
    part: "clipped",
  },
  avgm: {
    federation: { rule: MEDIAN, optimiser: { kind: "avgm", momentum: 0.9, rate: 0.5 } },
    moves: 0.5 * 3.5,
    rule: "median+avgm",
    part: "counted",
  },
  // m = 0.1 × 0.0035; v = 0.99 τ² (yogi: τ²) + 0.01 × 0.0035², with τ = 0.001; the step is rate × m / (√v + τ).
  adam: {
    federation: { rule: MEDIAN, optimiser: { kind: "adam", rate: 0.01, beta1: 0.9, beta2: 0.99, tau: 0.001 } },
    moves: (1000 * 0.01 * 0.00035) / (Math.sqrt(0.99e-6 + 0.1225e-6) + 0.001),
    rule: "median+adam",
    part: "counted",
  },
  yogi: {
    federation: { rule: MEDIAN, optimiser: { kind: "yogi", rate: 0.01, beta1: 0.9, beta2: 0.99, tau: 0.001 } },
    moves: (1000 * 0.01 * 0.00035) / (Math.sqrt(1e-6 + 0.1225e-6) + 0.001),
    rule: "median+yogi",
    part: "counted",
  },
};
const COHORTS = Object.keys(CASES);

let coordinator: Coordinator;
let clients: GatewayClient[];

beforeAll(async () => {
  const folder = temporaryFolder("every-rule");
  const files = Object.entries(CASES).map(([cohort, { federation }]) => {
    const file = join(folder, `${cohort}.yaml`);
    const round = { updates: PULLS.length, minGateways: PULLS.length };
    writeFileSync(file, JSON.stringify({ cohort, plan, federation: { round, ...federation } })); // JSON is YAML
    return file;
  });
  const config = readCoordinatorConfig({
    FLEAD_PLANS: files.join(","),
    FLEAD_DATA_DIR: join(folder, "data"),
    FLEAD_GRPC_ADDRESS: "127.0.0.1:0",
    FLEAD_HTTP_ADDRESS: "127.0.0.1:0",
  });
  coordinator = await openCoordinator(config, createLogger("test", "silent"));
  clients = PULLS.map((_, n) => new GatewayClient(`localhost:${coordinator.grpcAddress.port}`, `gw-${n}`));
  for (const client of clients) {
    const cohorts = COHORTS.map((cohort) => ({
      cohort,
      planId,
      globalVersion: 1n,
      devices: [],
      candidate: undefined,
      previousVersion: 0n,
    }));
    client.say({
      $case: "hello",
      value: { gatewayId: client.gatewayId, agentVersion: "test", site: "lab", cohorts },
    });
    await client.hears("welcome");
  }
});
afterAll(async () => {
  for (const client of clients ?? []) client.close();
  await coordinator?.close();
});

test.each(COHORTS)("%s", async (cohort) => {
  const { moves, rule, part } = CASES[cohort] as Case;
  for (const [n, pull] of PULLS.entries()) {
    const delta = Buffer.from(encodeWeights(new Float32Array(parameters).fill(pull / 1000)));
    await clients[n]?.push(anUpdate(cohort, planId, parameters, { delta }));
  }
  const [farthest] = clients.slice(-1);
  const model = await farthest?.hears("globalModel", (said) => said.cohort === cohort && said.globalVersion === 2n);
  const weights = decodeWeights(model?.weights ?? Buffer.alloc(0), parameters);
  for (const [i, weight] of weights.entries())
    expect(1000 * (weight - (compiled.initialWeights[i] as number))).toBeCloseTo(moves, 3);
  const feedback = await farthest?.hears("feedback", (said) => said.cohort === cohort);
  expect(feedback?.reason).toBe(
    `not evaluated: no held-out stream${part === "counted" ? "" : `; this gateway's pull was ${part}`}`,
  );
  const rounds = await fetch(new URL(`/api/v1/rounds?cohort=${cohort}`, coordinator.url));
  expect(await rounds.json()).toMatchObject({ items: [{ rule, updates: 5, gateways: 5, samples: 250 }] });
});
