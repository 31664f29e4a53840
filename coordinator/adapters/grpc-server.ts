// The gRPC server with its limits set on purpose; the library's defaults let a frozen peer stay silent for ever.
import { createServer, type Socket } from "node:net";
import {
  Server,
  ServerCredentials,
  type ServerDuplexStream,
  type ServerInterceptor,
  type ServerWritableStream,
  type UntypedServiceImplementation,
} from "@grpc/grpc-js";
import { MAX_MESSAGE_BYTES } from "../../proto/limits.ts";
import type { HostAndPort } from "../../runtime/config.ts";

const OPTIONS = {
  "grpc.max_receive_message_length": MAX_MESSAGE_BYTES,
  "grpc.max_send_message_length": MAX_MESSAGE_BYTES,
  "grpc.keepalive_time_ms": 30_000,
  "grpc.keepalive_timeout_ms": 5_000,
  "grpc.keepalive_permit_without_calls": 1,
  // One session and a plan fetch a gateway; more on one connection is a fault.
  "grpc.max_concurrent_streams": 8,
  // Its books of every connection and message, which nobody reads here.
  "grpc.enable_channelz": 0,
} as const;

export interface Service {
  readonly definition: Parameters<Server["addService"]>[0];
  /** A call that it destroys takes its connection with it. */
  readonly implementation: UntypedServiceImplementation;
  readonly interceptor?: ServerInterceptor;
}

export interface RunningServer {
  readonly address: HostAndPort;
  /** Ends open calls when `graceMs` has passed. */
  close(graceMs: number): Promise<void>;
}

type StreamingCall = ServerWritableStream<unknown, unknown> | ServerDuplexStream<unknown, unknown>;

/** Beyond `maxConnections` a new one is closed unheard. */
export async function startGrpcServer(
  address: HostAndPort,
  services: readonly Service[],
  maxConnections: number,
): Promise<RunningServer> {
  const server = new Server({ ...OPTIONS, interceptors: services.flatMap(({ interceptor }) => interceptor ?? []) });
  const connections = new Map<string, Socket>();
  const hangUp = (peer: string) => connections.get(peer)?.destroy();
  for (const { definition, implementation } of services) {
    server.addService(definition, hangingUpOnDestroy(implementation, hangUp));
  }
  const gateways = server.createConnectionInjector(ServerCredentials.createInsecure());
  const listener = createServer((socket) => {
    const peer = `${socket.remoteAddress}:${socket.remotePort}`;
    connections.set(peer, socket);
    socket.once("close", () => connections.delete(peer));
    gateways.injectConnection(socket);
  });
  listener.maxConnections = maxConnections;
  const { host } = address;
  const port = await new Promise<number>((resolve, reject) => {
    listener.once("error", (cause) =>
      reject(new Error(`cannot listen on ${host}:${address.port} for gateways`, { cause })),
    );
    listener.listen({ host, port: address.port }, () => resolve((listener.address() as { port: number }).port));
  });
  return {
    address: { host, port },
    close: (graceMs) =>
      new Promise((resolve) => {
        const force = setTimeout(() => {
          for (const socket of connections.values()) socket.destroy();
        }, graceMs);
        listener.close();
        server.tryShutdown(() => {
          clearTimeout(force);
          resolve();
        });
      }),
  };
}

/** The library destroys its own end of a call and leaves the stream below to a peer that may never end it. */
function hangingUpOnDestroy(
  implementation: UntypedServiceImplementation,
  hangUp: (peer: string) => void,
): UntypedServiceImplementation {
  const handlers = Object.entries(implementation).map(([name, handler]) => {
    const serve = handler as (call: StreamingCall) => void;
    const serveAndWatch = (call: StreamingCall) => {
      const peer = call.getPeer();
      call.once("close", () => call.cancelled || isOver(call) || hangUp(peer));
      serve(call);
    };
    return [name, serveAndWatch] as const;
  });
  return Object.fromEntries(handlers);
}

const isOver = (call: StreamingCall) => call.writableFinished && (!("readableEnded" in call) || call.readableEnded);
