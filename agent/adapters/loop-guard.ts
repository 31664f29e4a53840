// Ends the process when its event loop stands still: a shell beside it waits for beats, since a loop that hangs can't end itself.
import { spawn } from "node:child_process";

/**
 * A worker thread took 14 MB, this 1.7 and two small programs that wait. It ends with the process, whose end closes its input, and not
 * by the signal that stops both. `$1`: seconds without a beat, `$2`: the process.
 */
const SCRIPT = `
trap '' TERM INT HUP
exec 3>&2 2>/dev/null # the shell tells of what is killed
while :; do
  beat=$(timeout -s KILL "$1" head -c 1)
  case $? in 124 | 137 | 143) break ;; esac
  [ -n "$beat" ] || exit 0
done
printf '{"level":60,"program":"flead-agent","time":"%s","msg":"the event loop stood still for %s s; the process ends"}\\n' \\
  "$(date -u +%Y-%m-%dT%H:%M:%SZ)" "$1" >&3
kill -KILL "$2"`;

export interface LoopGuard {
  /** The loop goes round. */
  beat(): void;
  close(): void;
}

/** Kills the process (exit code 137) after `stuckMs` without a beat; `onProblem`: there is no guard (any more). */
export function openLoopGuard(stuckMs: number, onProblem: (what: string) => void): LoopGuard {
  const seconds = String(Math.ceil(stuckMs / 1000));
  const shell = spawn("/bin/sh", ["-c", SCRIPT, "flead-guard", seconds, String(process.pid)], {
    stdio: ["pipe", "ignore", "inherit"],
  });
  let closed = false;
  const gone = (what: string) => {
    if (!closed) onProblem(`nothing ends the agent if its loop hangs: ${what}`);
    closed = true;
  };
  shell.once("error", (error) => gone(error.message));
  shell.once("exit", (code, signal) => gone(`its guard ended (${signal ?? code})`));
  shell.stdin.on("error", () => undefined); // the exit says it
  shell.unref();
  return {
    beat: () => void (closed || shell.stdin.write(".")),
    close: () => {
      closed = true;
      shell.stdin.end();
    },
  };
}
