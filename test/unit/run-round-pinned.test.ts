import { expect, test } from "vitest";
import type { RoundUpdate } from "../../coordinator/core/combine-updates.ts";
import type { GatewayStanding } from "../../coordinator/core/gateway-standing.ts";
import type { RoundRecord } from "../../coordinator/ports/federation-store.ts";
import { runRound } from "../../coordinator/run-round.ts";
import { gatewayId, updateId } from "../../learning/ids.ts";
import { cohortState } from "../support/cohort-state.ts";

test("while the champion is pinned a gateway regains its voice by candidates that pass the gate", async () => {
  const before = { ...cohortState(), pin: { by: "ada", reason: "audit" } };
  const updates = ["gw-1", "gw-2", "gw-3"].map(
    (gateway, number): RoundUpdate => ({
      updateId: updateId(`01${String(number).padStart(24, "0")}`),
      gatewayId: gatewayId(gateway),
      baseVersion: 1,
      samples: 50,
      receivedAtMs: 0,
      delta: before.champion.weights.map(() => 0.01),
    }),
  );
  const lowered: GatewayStanding = { value: 0.5, roundsApart: 0, reason: "it pulled against the others" };
  const records: RoundRecord[] = [];
  const outcome = await runRound(
    {
      store: {
        roundUpdates: async () => updates,
        gatewayStatistics: async () => [],
        recordRound: async (record) => void records.push(record),
      },
      standings: { of: async () => new Map([["gw-1", lowered]]) },
      evaluator: { evaluate: async () => null, baselines: null },
    },
    before,
    new AbortController().signal,
  );
  expect(outcome).toMatchObject({ verdict: "candidate", cohort: { champion: { version: 1 } } });
  expect(records[0]?.standings).toMatchObject([{ gatewayId: "gw-1", after: { value: 0.625 } }]);
});
