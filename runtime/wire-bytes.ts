// Bytes that this process's TCP connections carry: what leaves and arrives, gRPC and HTTP/2 frames included.
import { subscribe, unsubscribe } from "node:diagnostics_channel";
import type { Socket } from "node:net";

const CHANNEL = "net.client.socket";

export interface WireBytes {
  /** Since the last call. */
  take(): { readonly sent: number; readonly received: number };
  /** Connections made from then on are not counted. */
  close(): void;
}

/**
 * To be called before the first connection; counts connections made from then on, to `ports` only where there are some.
 * What Node itself encrypts is counted as it was before.
 */
export function countWireBytes(ports: readonly number[] = []): WireBytes {
  const open = new Set<Socket>();
  const ended = { sent: 0, received: 0 };
  let taken = { sent: 0, received: 0 };
  const connecting = (message: unknown) => {
    const { socket } = message as { socket: Socket };
    socket.once("connect", () => {
      if (ports.length === 0 || ports.includes(socket.remotePort ?? 0)) open.add(socket);
    });
    socket.once("close", () => {
      if (!open.delete(socket)) return;
      ended.sent += socket.bytesWritten;
      ended.received += socket.bytesRead;
    });
  };
  subscribe(CHANNEL, connecting);
  return {
    take: () => {
      const total = { ...ended };
      for (const { bytesWritten, bytesRead } of open) {
        total.sent += bytesWritten;
        total.received += bytesRead;
      }
      const since = { sent: total.sent - taken.sent, received: total.received - taken.received };
      taken = total;
      return since;
    },
    close: () => void unsubscribe(CHANNEL, connecting),
  };
}
