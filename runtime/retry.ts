// Waiting that is abortable and bounded.
import { setTimeout as sleep } from "node:timers/promises";

export interface BackoffSettings {
  readonly firstMs: number;
  readonly maxMs: number;
}

/** Delay before attempt `attempt` (0 = the first retry): doubling up to `maxMs`, with full jitter over its upper half. */
export function backoffMs(attempt: number, settings: BackoffSettings, random: () => number): number {
  const ceiling = Math.min(settings.maxMs, settings.firstMs * 2 ** Math.min(attempt, 30));
  return ceiling / 2 + (ceiling / 2) * random();
}

/** Resolves after `ms`, or at once when `signal` aborts; never rejects. */
export async function pause(ms: number, signal?: AbortSignal): Promise<void> {
  await sleep(ms, undefined, signal ? { signal } : {}).catch(() => undefined);
}
