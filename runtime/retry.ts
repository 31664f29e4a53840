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

/** What `work` comes to, or a rejection after `ms`; the work itself goes on unheard. */
export async function within<Value>(ms: number, work: Promise<Value>): Promise<Value> {
  let timer: NodeJS.Timeout | undefined;
  const tooLate = new Promise<never>((_, reject) => {
    timer = setTimeout(() => reject(new Error(`no answer within ${ms} ms`)), ms);
  });
  return Promise.race([work, tooLate]).finally(() => clearTimeout(timer));
}
