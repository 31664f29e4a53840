// Which hosts are this machine only: the admin API has no log-in, so nothing else may reach it.
import { isIPv4 } from "node:net";

export function isLoopback(host: string): boolean {
  const name = host.replace(/^\[|\]$/g, "").toLowerCase();
  return name === "localhost" || name === "::1" || (isIPv4(name) && name.startsWith("127."));
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
