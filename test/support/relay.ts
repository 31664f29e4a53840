// A relay between two ends of a connection that can fall silent: what is sent arrives, or nothing does, and nobody is told.
import { once } from "node:events";
import { connect, createServer, type ListenOptions, type NetConnectOpts, type Socket } from "node:net";

export interface Relay {
  readonly port: number;
  /** From now on the dialling end hears nothing more on the connections it has, not even their end; with `both`, the other end neither. */
  silence(both?: boolean): void;
  close(): Promise<void>;
}

interface Pair {
  readonly dialling: Socket;
  readonly serving: Socket;
  silent: boolean;
}

export async function startRelay(at: ListenOptions, to: NetConnectOpts): Promise<Relay> {
  const pairs = new Set<Pair>();
  const server = createServer((dialling) => {
    const serving = connect(to);
    const pair: Pair = { dialling, serving, silent: false };
    pairs.add(pair);
    dialling.pipe(serving);
    serving.pipe(dialling);
    for (const socket of [dialling, serving]) socket.on("error", () => undefined);
    dialling.once("close", () => pairs.delete(pair) && serving.destroy());
    serving.once("close", () => pair.silent || dialling.destroy());
  });
  server.listen(at);
  await once(server, "listening");
  const address = server.address();
  return {
    port: address !== null && typeof address === "object" ? address.port : 0,
    silence: (both = false) => {
      for (const pair of pairs) {
        const { dialling, serving } = pair;
        pair.silent = true;
        serving.unpipe(dialling);
        serving.resume();
        if (!both) continue;
        dialling.unpipe(serving);
        dialling.resume();
      }
    },
    close: async () => {
      for (const { dialling, serving } of pairs) for (const socket of [dialling, serving]) socket.destroy();
      server.close();
      await once(server, "close");
    },
  };
}
