// Bytes that this process's TCP connections carry: what leaves and arrives, gRPC and HTTP/2 frames included.
import { subscribe } from "node:diagnostics_channel";
import type { Socket } from "node:net";

export interface WireBytes {
  /** Since the last call. */
  take(): { readonly sent: number; readonly received: number };
}

/** To be called before the first connection; counts connections made from then on. */
export function countWireBytes(): WireBytes {
  const open = new Set<Socket>();
  const ended = { sent: 0, received: 0 };
  let taken = { sent: 0, received: 0 };
  subscribe("net.client.socket", (message) => {
    const { socket } = message as { socket: Socket };
    open.add(socket);
    socket.once("close", () => {
      open.delete(socket);
      ended.sent += socket.bytesWritten;
      ended.received += socket.bytesRead;
    });
  });
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
  };
}
