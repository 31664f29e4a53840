// One end of a bare gRPC echo, as floor of what a session may cost: no protocol of ours, nothing decoded, nothing stored.
import {
  type ClientDuplexStream,
  credentials,
  makeGenericClientConstructor,
  Server,
  ServerCredentials,
  type ServerDuplexStream,
  type ServiceDefinition,
} from "@grpc/grpc-js";

export type EchoOrder =
  | { readonly do: "serve"; readonly answer: Uint8Array }
  | { readonly do: "load"; readonly port: number; readonly sessions: number; readonly request: Uint8Array }
  | { readonly do: "read" };

const bytes = { serialize: (value: Buffer) => value, deserialize: (value: Buffer) => value };
const METHOD: ServiceDefinition[string] = {
  path: "/echo/Session",
  requestStream: true,
  responseStream: true,
  requestSerialize: bytes.serialize,
  requestDeserialize: bytes.deserialize,
  responseSerialize: bytes.serialize,
  responseDeserialize: bytes.deserialize,
};
const DEFINITION = { session: METHOD };
let answered = 0;

/** Resolves to the port. */
function serve(answer: Buffer): Promise<number> {
  const server = new Server();
  const session = (call: ServerDuplexStream<Buffer, Buffer>) => {
    call.on("data", () => call.write(answer));
    call.on("end", () => call.end());
    call.on("error", () => undefined);
  };
  server.addService(DEFINITION, { session });
  return new Promise((resolve, reject) =>
    server.bindAsync("localhost:0", ServerCredentials.createInsecure(), (error, port) =>
      error ? reject(error) : resolve(port),
    ),
  );
}

/** Each session sends the next when the last was answered. */
function load(port: number, sessions: number, request: Buffer): void {
  const Client = makeGenericClientConstructor(DEFINITION, "echo");
  for (let i = 0; i < sessions; i++) {
    const options = { "grpc.use_local_subchannel_pool": 1 };
    const client = new Client(`localhost:${port}`, credentials.createInsecure(), options);
    const stream = (client.session as () => ClientDuplexStream<Buffer, Buffer>).call(client);
    stream.on("data", () => {
      answered++;
      stream.write(request);
    });
    stream.on("error", () => undefined);
    stream.write(request);
  }
}

function taken(): number {
  const count = answered;
  answered = 0;
  return count;
}

process.on("message", async (order: EchoOrder) => {
  if (order.do === "serve") process.send?.(await serve(Buffer.from(order.answer)));
  else if (order.do === "read") process.send?.(taken());
  else {
    load(order.port, order.sessions, Buffer.from(order.request));
    process.send?.(0);
  }
});
process.once("disconnect", () => process.exit());
