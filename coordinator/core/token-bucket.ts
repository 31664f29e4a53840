// So many at once, and so many a second in the long run.

export interface TokenRate {
  readonly burst: number;
  readonly perSecond: number;
}

export interface TokenBucket {
  readonly tokens: number;
  readonly atMs: number;
}

export const fullBucket = (rate: TokenRate, nowMs: number): TokenBucket => ({ tokens: rate.burst, atMs: nowMs });

function filled(bucket: TokenBucket, { burst, perSecond }: TokenRate, nowMs: number): number {
  return Math.min(burst, bucket.tokens + (Math.max(0, nowMs - bucket.atMs) / 1000) * perSecond);
}

/** The bucket with one token less and 0, or as it is and the milliseconds until there is one. */
export function takeToken(bucket: TokenBucket, rate: TokenRate, nowMs: number): readonly [TokenBucket, number] {
  const tokens = filled(bucket, rate, nowMs);
  if (tokens < 1) return [bucket, ((1 - tokens) / rate.perSecond) * 1000];
  return [{ tokens: tokens - 1, atMs: nowMs }, 0];
}

/** Forgetting such a bucket changes nothing. */
export function isFull(bucket: TokenBucket, rate: TokenRate, nowMs: number): boolean {
  return filled(bucket, rate, nowMs) >= rate.burst;
}
