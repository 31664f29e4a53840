// Reads the demo's coordinator over its REST API, as any dashboard would.
import type { DetectionScores } from "../../learning/detection.ts";
import { callApi } from "../rest.ts";

export interface RoundSummary {
  readonly globalVersion: number;
  readonly verdict: "promoted" | "rejected" | "candidate";
  readonly reason: string;
  readonly updates: number;
  readonly gateways: number;
  readonly heldOut: DetectionScores | null;
  readonly baselines: Readonly<Record<"alwaysNormal" | "alwaysAlarm" | "zScore", DetectionScores>> | null;
  readonly learningRateFactor: number;
}

export interface LoopState {
  readonly championVersion: number;
  readonly learningRateFactor: number;
  readonly openRound: { readonly updates: number; readonly updatesWanted: number; readonly gateways: number };
  readonly updates: { readonly acknowledged: number; readonly aggregated: number; readonly refused: number };
  readonly gatewaysConnected: number;
  /** As the gateways count them; what is on its way is not acknowledged yet. */
  readonly updatesTrained: number;
  /** Oldest first. */
  readonly rounds: readonly RoundSummary[];
}

interface Health {
  readonly cohorts: readonly (Omit<LoopState, "rounds" | "gatewaysConnected" | "updatesTrained"> & {
    cohort: string;
  })[];
}
interface Gateways {
  readonly items: readonly { connected: boolean; health: { updatesTrained: number | null } | null }[];
}
interface Rounds {
  readonly items: readonly RoundSummary[];
  readonly nextCursor: string | null;
}

export async function readLoop(url: string, cohort: string): Promise<LoopState> {
  const [health, gateways, rounds] = await Promise.all([
    callApi<Health>(url, "/api/v1/health"),
    callApi<Gateways>(url, "/api/v1/gateways?limit=200"),
    readRounds(url, cohort),
  ]);
  const overview = health.cohorts.find((entry) => entry.cohort === cohort);
  if (overview === undefined) throw new Error(`the coordinator has no cohort ${cohort}`);
  return {
    ...overview,
    rounds,
    gatewaysConnected: gateways.items.filter(({ connected }) => connected).length,
    updatesTrained: gateways.items.reduce((sum, { health: said }) => sum + (said?.updatesTrained ?? 0), 0),
  };
}

async function readRounds(url: string, cohort: string): Promise<RoundSummary[]> {
  const rounds: RoundSummary[] = [];
  let cursor = "";
  do {
    const page = await callApi<Rounds>(url, `/api/v1/rounds?cohort=${cohort}&limit=200${cursor}`);
    rounds.push(...page.items);
    cursor = page.nextCursor === null ? "" : `&cursor=${encodeURIComponent(page.nextCursor)}`;
  } while (cursor !== "");
  return rounds.reverse();
}
