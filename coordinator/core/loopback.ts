// Which hosts are this machine only: without transport security and log-in, nothing else may reach the coordinator.

const IPV4_LOOPBACK = /^127(\.(25[0-5]|2[0-4]\d|1?\d?\d)){3}$/;

export function isLoopback(host: string): boolean {
  const name = host.replace(/^\[|\]$/g, "").toLowerCase();
  return name === "localhost" || name === "::1" || IPV4_LOOPBACK.test(name);
}

/** The host of a Host header ("localhost:8080", "[::1]:8080"); null when it is none. */
export function hostOf(header: string): string | null {
  return URL.canParse(`http://${header}`) ? new URL(`http://${header}`).hostname : null;
}

export class NotLoopbackError extends Error {
  constructor(host: string) {
    super(
      `the admin API has no log-in and answers on this machine only: ${JSON.stringify(host)} is not a loopback address; ` +
        "use 127.0.0.1, ::1 or localhost",
    );
    this.name = "NotLoopbackError";
  }
}
