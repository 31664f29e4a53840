// What systemd is told. Its socket takes datagrams, which Node can't send to a path, so that `systemd-notify` does it.
import { execFile } from "node:child_process";

const NOTIFY_MS = 3_000;

/** `state`, as in sd_notify(3). Rejects when there is no `systemd-notify`, or it was not heard. */
export function notifySystemd(state: "READY=1" | "WATCHDOG=1" | "STOPPING=1"): Promise<void> {
  return new Promise((resolve, reject) => {
    const told = execFile("systemd-notify", [state], { timeout: NOTIFY_MS }, (error) =>
      error === null ? resolve() : reject(error),
    );
    told.unref();
  });
}
