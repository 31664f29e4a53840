// For Kubernetes' probes, inside the pod: "ready" asks whether the coordinator can serve, "alive" whether it answers at all.
const TIMEOUT_MS = 4_000;

const wanted = process.argv[2] ?? "ready";
const address = process.env.FLEAD_HTTP_ADDRESS ?? "127.0.0.1:8080";
try {
  const { ok } = await fetch(`http://${address}/api/v1/health`, { signal: AbortSignal.timeout(TIMEOUT_MS) });
  process.exitCode = ok || wanted === "alive" ? 0 : 1;
} catch (error) {
  console.error(String(error.cause ?? error));
  process.exitCode = 1;
}
