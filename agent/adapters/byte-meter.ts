// What this process writes to disk and carries over the network.
import { readFileSync } from "node:fs";
import { countWireBytes } from "../../runtime/wire-bytes.ts";
import type { ByteMeter } from "../ports/byte-meter.ts";

/** To be opened before the first connection. */
export function openByteMeter(ports: {
  readonly coordinator: readonly number[];
  readonly broker: readonly number[];
}): ByteMeter {
  const coordinator = countWireBytes(ports.coordinator);
  const broker = countWireBytes(ports.broker);
  let flashBefore = flashWritten();
  const take = () => {
    const flash = flashWritten();
    const [toCoordinator, toBroker] = [coordinator.take(), broker.take()];
    const since = flash === null || flashBefore === null ? null : flash - flashBefore;
    flashBefore = flash;
    return {
      flashWritten: since,
      coordinatorSent: toCoordinator.sent,
      coordinatorReceived: toCoordinator.received,
      brokerSent: toBroker.sent,
      brokerReceived: toBroker.received,
    };
  };
  const close = () => {
    coordinator.close();
    broker.close();
  };
  return { take, close };
}

/** What the kernel says it has to write for this process, in whole pages; null where it says nothing. */
function flashWritten(): number | null {
  try {
    const found = /^write_bytes: (\d+)$/m.exec(readFileSync("/proc/self/io", "utf8"));
    return found === null ? null : Number(found[1]);
  } catch {
    return null;
  }
}
