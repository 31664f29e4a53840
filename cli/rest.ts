// A coordinator's REST API, as any client would call it.

const REQUEST_TIMEOUT_MS = 10_000;

/** Throws with the problem document's detail for any status but 2xx. */
export async function callApi<T>(url: string, path: string, body?: object): Promise<T> {
  const request = body && {
    method: "POST",
    headers: { "content-type": "application/json" },
    body: JSON.stringify(body),
  };
  const response = await fetch(new URL(path, url), {
    ...request,
    signal: AbortSignal.timeout(REQUEST_TIMEOUT_MS),
  }).catch((cause: unknown) => {
    throw new Error(`no coordinator answers at ${url}`, { cause });
  });
  const answer = (await response.json().catch(() => null)) as (T & { detail?: unknown }) | null;
  if (response.ok && answer !== null) return answer;
  throw new Error(typeof answer?.detail === "string" ? answer.detail : `${path} answered ${response.status}`);
}
