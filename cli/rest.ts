// A coordinator's REST API, as any client would call it.

const REQUEST_TIMEOUT_MS = 10_000;

/** `body`: JSON, or the text of a YAML file. Throws with the problem document's detail for any status but 2xx. */
export async function callApi<T>(
  url: string,
  path: string,
  body?: object | string,
  timeoutMs = REQUEST_TIMEOUT_MS,
): Promise<T> {
  const isText = typeof body === "string";
  const request = body !== undefined && {
    method: "POST",
    headers: { "content-type": isText ? "application/yaml" : "application/json" },
    body: isText ? body : JSON.stringify(body),
  };
  const response = await fetch(new URL(path, url), {
    ...(request || {}),
    signal: AbortSignal.timeout(timeoutMs),
  }).catch((cause: Error) => {
    const late = cause.name === "TimeoutError" ? ` within ${timeoutMs / 1000} s` : "";
    throw new Error(`no coordinator answers at ${url}${late}`, { cause });
  });
  const answer = (await response.json().catch(() => null)) as (T & { detail?: unknown }) | null;
  if (response.ok && answer !== null) return answer;
  throw new Error(typeof answer?.detail === "string" ? answer.detail : `${path} answered ${response.status}`);
}
