import { expect, test } from "vitest";
import type { RoundUpdate } from "../../coordinator/core/combine-updates.ts";
import type { RoundRecord } from "../../coordinator/ports/federation-store.ts";
import { type RoundDeps, runRound } from "../../coordinator/run-round.ts";
import { EmptyRoundError } from "../../learning/aggregation/fedavg.ts";
import { type FleetStatistics, type GatewayStatistics, poolDevices, poolGateways } from "../../learning/fleet.ts";
import { gatewayId, updateId } from "../../learning/ids.ts";
import { cohortState } from "../support/cohort-state.ts";
import { fleetDevice, fleetPlan } from "../support/fleet-plan.ts";

test("the candidate is judged and kept under what the gateways told by then, the champion under its own", async () => {
  const known = cohortState();
  const manifest = { ...known.manifest, features: fleetPlan.features, threshold: fleetPlan.threshold };
  const own: FleetStatistics = { scales: null, thresholdFactor: 5 };
  const before = { ...known, manifest, champion: { ...known.champion, trained: true, fleet: own } };
  const told: GatewayStatistics[] = [1, 2, 3].flatMap(
    (seed) => poolDevices(manifest, [fleetDevice(seed, manifest.channels.length)], seed) ?? [],
  );
  const updates = ["gw-1", "gw-2"].map(
    (gateway, number): RoundUpdate => ({
      updateId: updateId(`01${String(number).padStart(24, "0")}`),
      gatewayId: gatewayId(gateway),
      baseVersion: 1,
      samples: 50,
      receivedAtMs: 0,
      delta: known.champion.weights.map(() => 0.01),
    }),
  );
  const evaluated: [Float32Array, FleetStatistics][] = [];
  const records: RoundRecord[] = [];
  const outcome = await runRound(
    {
      store: {
        roundUpdates: async () => updates,
        gatewayStatistics: async () => told,
        recordRound: async (record) => {
          records.push(record);
        },
      },
      standings: { of: async () => new Map() },
      evaluator: {
        evaluate: async (weights, fleet) => {
          evaluated.push([weights, fleet]);
          return null;
        },
        baselines: null,
      },
    },
    before,
    new AbortController().signal,
  );
  const pooled = poolGateways(manifest, told);
  expect(pooled.scales).toHaveLength(manifest.channels.length);
  expect(evaluated).toEqual([
    [records[0]?.candidate.weights, pooled],
    [before.champion.weights, own],
  ]);
  expect(records[0]?.candidate.fleet).toEqual(pooled);
  expect(outcome.cohort.champion.fleet).toEqual(pooled);
});

test("a round without updates is no round: nothing is evaluated or recorded", async () => {
  const unasked = () => expect.unreachable("the round went on");
  const deps: RoundDeps = {
    store: { roundUpdates: async () => [], gatewayStatistics: async () => [], recordRound: unasked },
    standings: { of: async () => new Map() },
    evaluator: { evaluate: unasked, baselines: null },
  };
  await expect(runRound(deps, cohortState(), new AbortController().signal)).rejects.toThrow(EmptyRoundError);
});
