// The gRPC server with its limits set on purpose; the library's defaults let a frozen peer stay silent for ever.
import { Server, ServerCredentials, type UntypedServiceImplementation } from "@grpc/grpc-js";
import { MAX_MESSAGE_BYTES } from "../../proto/limits.ts";
import type { HostAndPort } from "../../runtime/config.ts";

const OPTIONS = {
  "grpc.max_receive_message_length": MAX_MESSAGE_BYTES,
  "grpc.max_send_message_length": MAX_MESSAGE_BYTES,
  "grpc.keepalive_time_ms": 10_000,
  "grpc.keepalive_timeout_ms": 5_000,
  "grpc.keepalive_permit_without_calls": 1,
  // One session and a plan fetch a gateway; more on one connection is a fault.
  "grpc.max_concurrent_streams": 8,
} as const;

export interface Service {
  readonly definition: Parameters<Server["addService"]>[0];
  readonly implementation: UntypedServiceImplementation;
}

export interface RunningServer {
  readonly address: HostAndPort;
  /** Ends open calls when `graceMs` has passed. */
  close(graceMs: number): Promise<void>;
}

export async function startGrpcServer(address: HostAndPort, services: readonly Service[]): Promise<RunningServer> {
  const server = new Server(OPTIONS);
  for (const { definition, implementation } of services) server.addService(definition, implementation);
  const host = address.host.includes(":") ? `[${address.host}]` : address.host;
  const port = await new Promise<number>((resolve, reject) => {
    server.bindAsync(`${host}:${address.port}`, ServerCredentials.createInsecure(), (error, bound) =>
      error
        ? reject(new Error(`cannot listen on ${host}:${address.port} for gateways`, { cause: error }))
        : resolve(bound),
    );
  });
  return {
    address: { host: address.host, port },
    close: (graceMs) =>
      new Promise((resolve) => {
        const force = setTimeout(() => server.forceShutdown(), graceMs);
        server.tryShutdown(() => {
          clearTimeout(force);
          resolve();
        });
      }),
  };
}
