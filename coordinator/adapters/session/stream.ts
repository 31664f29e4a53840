// The session's stream: requests come one at a time when they are asked for, responses go as bytes that were made once.
import { type ServerDuplexStream, ServerInterceptingCall, type ServerInterceptor } from "@grpc/grpc-js";
import {
  FederationServiceService,
  type SessionRequest,
  SessionResponse,
} from "../../../proto/gen/flead/v1/federation.ts";

/** A request that was taken off the connection. */
export interface Taken {
  readonly request: SessionRequest;
  /** To be called once: until then the next request stays in the connection, and in the end at its gateway. */
  readonly next: () => void;
}

/** What is written is a message from `encoded`. */
export type Call = ServerDuplexStream<Taken, Buffer>;

export function encoded(response: SessionResponse): Buffer {
  const { buffer, byteOffset, byteLength } = SessionResponse.encode(response).finish();
  return Buffer.from(buffer, byteOffset, byteLength);
}

/** The message that `response` makes of a value, made once however many sessions it goes to. */
export function encodedOnce<Value extends object>(
  response: (value: Value) => SessionResponse,
): (value: Value) => Buffer {
  const made = new WeakMap<Value, Buffer>();
  return (value) => {
    const message = made.get(value) ?? encoded(response(value));
    made.set(value, message);
    return message;
  };
}

/** To be served together with `oneAtATime`. */
export const sessionDefinition = {
  session: { ...FederationServiceService.session, responseSerialize: (message: Buffer) => message },
};

/** The library reads up to 16 messages ahead, whatever their size; this hands out one, and the next when it is asked for. */
export const oneAtATime: ServerInterceptor = (method, call) =>
  method.path === sessionDefinition.session.path ? new OneAtATime(call) : new ServerInterceptingCall(call);

/**
 * The library's own. It keeps the pieces of a call's last message until the next one begins: of an idle gateway, all of
 * its last update.
 */
export interface MessageDecoder {
  readState: number;
  readPartialMessage: unknown[];
}

const BETWEEN_MESSAGES = 0;

/** Null: the library is another one than this was written for, and keeps its pieces. */
export function decoderOf(call: ServerInterceptingCall): MessageDecoder | null {
  const decoder = property(property(call, "nextCall"), "decoder");
  return isDecoder(decoder) ? decoder : null;
}

const property = (of: unknown, name: string): unknown =>
  typeof of === "object" && of !== null ? Reflect.get(of, name) : undefined;

const isDecoder = (given: unknown): given is MessageDecoder =>
  property(given, "readState") === BETWEEN_MESSAGES && Array.isArray(property(given, "readPartialMessage"));

type Listener = Parameters<ServerInterceptingCall["start"]>[0];

class OneAtATime extends ServerInterceptingCall {
  #begun = false;

  override start(listener: Listener): void {
    const next = () => super.startRead();
    const decoder = decoderOf(this);
    super.start({
      onReceiveMetadata: (metadata) => listener.onReceiveMetadata(metadata),
      onReceiveMessage: (request: SessionRequest) => {
        if (decoder?.readState === BETWEEN_MESSAGES) decoder.readPartialMessage = [];
        listener.onReceiveMessage({ request, next } satisfies Taken);
      },
      onReceiveHalfClose: () => listener.onReceiveHalfClose(),
      onCancel: () => listener.onCancel(),
    });
  }

  override startRead(): void {
    if (this.#begun) return;
    this.#begun = true;
    super.startRead();
  }
}
