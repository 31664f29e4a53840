// How long a champion takes to its gateways.
import { z } from "zod";
import { callApi } from "../rest.ts";
import type { Arrival } from "./meter.ts";

export interface Delivery {
  readonly version: number;
  readonly sessions: number;
  /** Between the first session that had it and the last. */
  readonly spreadMs: number;
  /** From the round's close to the session; null: when it closed is not known. The clocks of both machines are in it. */
  readonly afterCloseMs: { readonly mean: number; readonly last: number } | null;
}

/** `closings`: when the round of a version closed, by the wall clock. */
export function deliveries(arrivals: readonly Arrival[], closings: ReadonlyMap<number, number>): Delivery[] {
  return arrivals.map(({ version, sessions, firstMs, lastMs, sumMs }) => {
    const closedMs = closings.get(version);
    const afterCloseMs = closedMs === undefined ? null : { mean: sumMs / sessions - closedMs, last: lastMs - closedMs };
    return { version, sessions, spreadMs: lastMs - firstMs, afterCloseMs };
  });
}

const pageOfRounds = z.object({ items: z.array(z.object({ globalVersion: z.int(), closedAt: z.string() })) });

/** Of the newest rounds of `cohort`, by version. */
export async function readClosings(url: string, cohort: string): Promise<Map<number, number>> {
  const path = `/api/v1/rounds?cohort=${encodeURIComponent(cohort)}&limit=200`;
  const { items } = pageOfRounds.parse(await callApi<unknown>(url, path));
  return new Map(items.map(({ globalVersion, closedAt }) => [globalVersion, Date.parse(closedAt)]));
}
