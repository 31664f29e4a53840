// A gateway whose every message a test decides, over real gRPC.
import { type ClientDuplexStream, credentials, type ServiceError } from "@grpc/grpc-js";
import { ulid } from "ulid";
import {
  DeltaEncoding,
  FederationServiceClient,
  type SessionRequest,
  type SessionResponse,
  type Update,
} from "../../proto/gen/flead/v1/federation.ts";
import { PlanServiceClient } from "../../proto/gen/flead/v1/plan.ts";
import { encodeWeights } from "../../proto/weights.ts";
import { eventually } from "./eventually.ts";

type Heard = NonNullable<SessionResponse["message"]>;
type ValueOf<Case extends Heard["$case"]> = Extract<Heard, { $case: Case }>["value"];

export class GatewayClient {
  readonly gatewayId: string;
  readonly heard: Heard[] = [];
  /** Why the session ended; null while it is open. */
  ended: ServiceError | "end" | null = null;
  readonly #client: FederationServiceClient;
  readonly #stream: ClientDuplexStream<SessionRequest, SessionResponse>;

  constructor(address: string, gatewayId: string) {
    this.gatewayId = gatewayId;
    // A connection of its own, as a gateway has; grpc-js would share one between clients of one address.
    const options = { "grpc.use_local_subchannel_pool": 1 };
    this.#client = new FederationServiceClient(address, credentials.createInsecure(), options);
    this.#stream = this.#client.session();
    this.#stream.on("data", ({ message }: SessionResponse) => message && this.heard.push(message));
    this.#stream.on("error", (error: ServiceError) => {
      this.ended = error;
    });
    this.#stream.on("end", () => {
      this.ended ??= "end";
    });
  }

  say(message: NonNullable<SessionRequest["message"]>): void {
    this.#stream.write({ message });
  }

  async hello(cohort: string, planId = "", globalVersion = 0): Promise<void> {
    const held = { cohort, planId, globalVersion: BigInt(globalVersion), devices: ["pump-1"] };
    const cohorts = [{ ...held, candidate: undefined, previousVersion: 0n }];
    this.say({ $case: "hello", value: { gatewayId: this.gatewayId, agentVersion: "test", site: "lab", cohorts } });
    await this.hears("welcome");
  }

  /** The first message of this kind that satisfies `wanted`, whether it came already or comes yet. */
  hears<Case extends Heard["$case"]>(
    kind: Case,
    wanted: (value: ValueOf<Case>) => boolean = () => true,
  ): Promise<ValueOf<Case>> {
    const found = () => {
      for (const message of this.heard) {
        if (message.$case === kind && wanted(message.value as ValueOf<Case>)) return { value: message.value };
      }
      return undefined;
    };
    return eventually(`${this.gatewayId} hears ${kind}`, found).then(({ value }) => value) as Promise<ValueOf<Case>>;
  }

  async push(update: Update) {
    this.say({ $case: "update", value: update });
    return this.hears("updateResult", ({ updateId }) => updateId === update.updateId);
  }

  /** The answer to this sending, whatever an earlier one was answered. */
  async pushAgain(update: Update) {
    const answered = this.heard.length;
    this.say({ $case: "update", value: update });
    return eventually(`${this.gatewayId} is answered`, () => {
      for (const message of this.heard.slice(answered)) {
        if (message.$case === "updateResult" && message.value.updateId === update.updateId) return message.value;
      }
      return undefined;
    });
  }

  close(): void {
    this.#stream.cancel();
    this.#client.close();
  }
}

/** A well-formed update of `count` parameters, all of them `value`. */
export function anUpdate(cohort: string, planId: string, count: number, change: Partial<Update> = {}): Update {
  return {
    updateId: ulid(),
    cohort,
    planId,
    baseVersion: 1n,
    localSteps: 1n,
    samples: 50n,
    loss: 0.5,
    encoding: DeltaEncoding.FLOAT32,
    delta: Buffer.from(encodeWeights(new Float32Array(count).fill(0.001))),
    roundId: 0n,
    ...change,
  };
}

/** The bundle as PlanService sends it, or the error it answers with. */
export async function fetchPlan(address: string, planId: string): Promise<Buffer> {
  const client = new PlanServiceClient(address, credentials.createInsecure());
  try {
    const chunks: Buffer[] = [];
    for await (const { chunk } of client.getPlan({ planId })) chunks.push(chunk);
    return Buffer.concat(chunks);
  } finally {
    client.close();
  }
}
