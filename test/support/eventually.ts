// Waits for what real processes do in their own time: asks again until it holds, and says what it last saw.

const ASK_EVERY_MS = 50;

export async function eventually<T>(
  what: string,
  ask: () => Promise<T | undefined> | T | undefined,
  limitMs = 60_000,
): Promise<T> {
  const deadlineMs = performance.now() + limitMs;
  let last: unknown;
  while (performance.now() < deadlineMs) {
    try {
      const answer = await ask();
      if (answer !== undefined) return answer;
    } catch (error) {
      last = error;
    }
    await new Promise((resolve) => setTimeout(resolve, ASK_EVERY_MS));
  }
  throw new Error(`${what}: not within ${limitMs} ms`, { cause: last });
}
