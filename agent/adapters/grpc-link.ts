// The coordinator over gRPC: a channel an address, one bidirectional stream a session, plans in checked chunks.
import { once } from "node:events";
import { type ChannelOptions, type ClientDuplexStream, credentials } from "@grpc/grpc-js";
import type { PlanId } from "../../learning/ids.ts";
import {
  FederationServiceClient,
  type SessionRequest,
  type SessionResponse,
  type Welcome,
} from "../../proto/gen/flead/v1/federation.ts";
import { PlanServiceClient } from "../../proto/gen/flead/v1/plan.ts";
import { MAX_MESSAGE_BYTES } from "../../proto/limits.ts";
import { decodeBundle } from "../../proto/plan-bundle.ts";
import { isSignedBy } from "../../proto/plan-signature.ts";
import type { CoordinatorLink, FromCoordinator, Hello, Session, ToCoordinator } from "../ports/coordinator-link.ts";
import type { FetchedPlan } from "../ports/plan.ts";
import { assemble } from "./plan-chunks.ts";
import { readResponse, wireHeartbeat, wireHello, wireMessage } from "./wire.ts";

const WELCOME_MS = 10_000;
const HEARTBEAT_MS = 15_000;
/** A coordinator answers heartbeats: one that said nothing for so long is not there, whatever its machine says. */
const SILENCE_MS = 3 * HEARTBEAT_MS;
const FETCH_MS = 30_000;
/** For what was written to leave. */
const CLOSE_MS = 500;

/** Without them a coordinator that froze is not noticed, messages above 4 MB fail and reconnection slows to two minutes. */
const CHANNEL: ChannelOptions = {
  "grpc.keepalive_time_ms": 30_000,
  "grpc.keepalive_timeout_ms": 5_000,
  "grpc.keepalive_permit_without_calls": 1,
  "grpc.max_send_message_length": MAX_MESSAGE_BYTES,
  "grpc.max_receive_message_length": MAX_MESSAGE_BYTES,
  "grpc.initial_reconnect_backoff_ms": 500,
  "grpc.max_reconnect_backoff_ms": 30_000,
};

export interface Address {
  readonly host: string;
  readonly port: number;
}

interface Clients {
  readonly federation: FederationServiceClient;
  readonly plans: PlanServiceClient;
}

/**
 * Of several addresses one is used at a time, and the next one after each session, be it that it ended or that it never
 * began: any coordinator of the fleet's serves as well as another.
 */
export class GrpcLink implements CoordinatorLink {
  readonly #coordinators: readonly Clients[];
  readonly #nowMs: () => number;
  #current: number;

  /**
   * At least one address; `random` chooses which comes first, so that a fleet spreads over them. `channel` adds to the
   * agent's own options: a process that stands for many gateways needs a connection for each.
   */
  constructor(addresses: readonly Address[], nowMs: () => number, random: () => number, channel: ChannelOptions = {}) {
    this.#coordinators = addresses.map((address) => clientsOf(address, { ...CHANNEL, ...channel }));
    this.#nowMs = nowMs;
    this.#current = Math.floor(random() * addresses.length);
  }

  async connect(hello: Hello, signal: AbortSignal): Promise<Session> {
    this.#current = (this.#current + 1) % this.#coordinators.length;
    const stream = this.#clients.federation.session();
    stream.on("error", () => undefined); // the iterator throws it; a stream that nobody reads any more must not
    const cancel = () => stream.cancel();
    signal.addEventListener("abort", cancel, { once: true });
    stream.once("close", () => signal.removeEventListener("abort", cancel));
    const tooLate = setTimeout(cancel, WELCOME_MS);
    try {
      stream.write(wireHello(hello));
      const responses = stream[Symbol.asyncIterator]() as AsyncIterator<SessionResponse>;
      const first = await responses.next();
      const message = first.done ? undefined : first.value.message;
      if (message?.$case !== "welcome") throw new Error("the coordinator did not welcome this gateway");
      return new GrpcSession(stream, responses, message.value, this.#nowMs);
    } catch (error) {
      stream.cancel();
      throw error;
    } finally {
      clearTimeout(tooLate);
    }
  }

  async fetchPlan(planId: PlanId, signal: AbortSignal): Promise<FetchedPlan> {
    const chunks = this.#clients.plans.getPlan({ planId }, { deadline: this.#nowMs() + FETCH_MS });
    chunks.on("error", () => undefined);
    const cancel = () => chunks.cancel();
    signal.addEventListener("abort", cancel, { once: true });
    try {
      const { bytes, signature, publicKey } = await assemble(chunks);
      const { manifest, scoreOnnx, trainOnnx } = decodeBundle(bytes, planId);
      const signedBy = signature.byteLength === 0 ? null : publicKey;
      if (signedBy !== null && !isSignedBy(signedBy, planId, signature))
        throw new Error(`its signature is not one of key ${signedBy.slice(0, 43)}`);
      return { planId, bytes, manifest, scoreOnnx, trainOnnx, signedBy };
    } finally {
      signal.removeEventListener("abort", cancel);
      chunks.cancel();
    }
  }

  close(): void {
    for (const { federation } of this.#coordinators) federation.close();
  }

  get #clients(): Clients {
    return this.#coordinators[this.#current] as Clients;
  }
}

/** The channel connects when it is first used. */
function clientsOf({ host, port }: Address, channel: ChannelOptions): Clients {
  const address = host.includes(":") ? `[${host}]:${port}` : `${host}:${port}`;
  const federation = new FederationServiceClient(address, credentials.createInsecure(), channel);
  const channelOverride = federation.getChannel();
  return { federation, plans: new PlanServiceClient(address, credentials.createInsecure(), { channelOverride }) };
}

class GrpcSession implements Session {
  readonly unknownCohorts: readonly string[];
  readonly messages: AsyncIterable<FromCoordinator>;
  readonly #stream: ClientDuplexStream<SessionRequest, SessionResponse>;
  readonly #over = new AbortController();

  constructor(
    stream: ClientDuplexStream<SessionRequest, SessionResponse>,
    responses: AsyncIterator<SessionResponse>,
    welcome: Welcome,
    nowMs: () => number,
  ) {
    this.#stream = stream;
    this.unknownCohorts = welcome.unknownCohorts;
    let heardAtMs = performance.now();
    this.messages = readAll(responses, () => {
      heardAtMs = performance.now();
    });
    const heartbeat = setInterval(() => {
      if (performance.now() - heardAtMs > SILENCE_MS) stream.cancel();
      else if (!this.#over.signal.aborted) stream.write(wireHeartbeat(nowMs()));
    }, HEARTBEAT_MS);
    const end = () => {
      clearInterval(heartbeat);
      this.#over.abort(new Error("the session is over"));
    };
    for (const event of ["end", "close", "error"]) stream.once(event, end);
  }

  async send(message: ToCoordinator): Promise<void> {
    this.#over.signal.throwIfAborted();
    if (this.#stream.write(wireMessage(message))) return;
    await once(this.#stream, "drain", { signal: this.#over.signal });
  }

  close(): void {
    if (this.#over.signal.aborted) return;
    this.#over.abort(new Error("the session is over"));
    this.#stream.end();
    setTimeout(() => this.#stream.cancel(), CLOSE_MS).unref();
  }
}

async function* readAll(
  responses: AsyncIterator<SessionResponse>,
  onHeard: () => void,
): AsyncGenerator<FromCoordinator> {
  try {
    for (let next = await responses.next(); !next.done; next = await responses.next()) {
      onHeard();
      const message = readResponse(next.value);
      if (message !== null) yield message;
    }
  } finally {
    await responses.return?.();
  }
}
