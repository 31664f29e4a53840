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

/** The bucket with `count` tokens less and 0, or as it is and the milliseconds until so many have come. */
export function takeToken(
  bucket: TokenBucket,
  rate: TokenRate,
  nowMs: number,
  count = 1,
): readonly [TokenBucket, number] {
  const tokens = filled(bucket, rate, nowMs);
  if (tokens < count) return [bucket, ((count - tokens) / rate.perSecond) * 1000];
  return [{ tokens: tokens - count, atMs: nowMs }, 0];
}

/** Forgetting such a bucket changes nothing. */
export function isFull(bucket: TokenBucket, rate: TokenRate, nowMs: number): boolean {
  return filled(bucket, rate, nowMs) >= rate.burst;
}
