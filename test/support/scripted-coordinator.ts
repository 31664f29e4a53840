// A coordinator that does what a test tells it to, over real gRPC on a free port.
import { Server, ServerCredentials, type ServerDuplexStream, type ServerWritableStream } from "@grpc/grpc-js";
import { compilePlan } from "../../learning/compile-plan.ts";
import type { PlanId } from "../../learning/ids.ts";
import type { Manifest, PlanSettings } from "../../learning/plan.ts";
import {
  FederationServiceService,
  type Hello,
  type SessionRequest,
  type SessionResponse,
  type Update,
  UpdateStatus,
} from "../../proto/gen/flead/v1/federation.ts";
import { type GetPlanRequest, type GetPlanResponse, PlanServiceService } from "../../proto/gen/flead/v1/plan.ts";
import { encodeBundle } from "../../proto/plan-bundle.ts";
import { encodeWeights } from "../../proto/weights.ts";

type Call = ServerDuplexStream<SessionRequest, SessionResponse>;
type PlanCall = ServerWritableStream<GetPlanRequest, GetPlanResponse>;
type Said = NonNullable<SessionRequest["message"]>;
type ValueOf<Case> = Extract<Said, { $case: Case }>["value"];
type Answer = NonNullable<SessionResponse["message"]>;

export interface TestPlan {
  readonly planId: PlanId;
  readonly bytes: Uint8Array;
  readonly manifest: Manifest;
  readonly initialWeights: Float32Array;
}

export function testPlan(settings: PlanSettings): TestPlan {
  const plan = compilePlan(settings);
  return { ...encodeBundle(plan), manifest: plan.manifest, initialWeights: plan.initialWeights };
}

const UNSIGNED = { signature: Buffer.alloc(0), publicKey: "" };

export class ScriptedCoordinator {
  readonly port: number;
  /** Everything that gateways said, over all sessions, in order. */
  readonly heard: Said[] = [];
  /** What is sent to a gateway after its welcome. */
  greeting: Answer[] = [];
  /** Null: no answer. */
  answerTo: (update: Update) => { status: UpdateStatus; retryAfterMs?: number } | null = () => ({
    status: UpdateStatus.ACCEPTED,
  });
  /** What its plans are signed with. */
  signs: (planId: PlanId) => Pick<GetPlanResponse, "signature" | "publicKey"> = () => UNSIGNED;
  /** False: as if reports could not be stored. */
  answersReports = true;
  readonly #server: Server;
  readonly #plans = new Map<string, Uint8Array>();
  readonly #cut = new Set<string>();
  #calls: Call[] = [];

  private constructor(server: Server, port: number) {
    this.#server = server;
    this.port = port;
  }

  static async start(port = 0): Promise<ScriptedCoordinator> {
    const server = new Server();
    const bound = await new Promise<number>((resolve, reject) =>
      server.bindAsync(`127.0.0.1:${port}`, ServerCredentials.createInsecure(), (error, got) =>
        error ? reject(error) : resolve(got),
      ),
    );
    const self = new ScriptedCoordinator(server, bound);
    server.addService(FederationServiceService, { session: (call: Call) => self.#session(call) });
    server.addService(PlanServiceService, { getPlan: (call: PlanCall) => self.#plan(call) });
    return self;
  }

  get hellos(): Hello[] {
    return this.said("hello");
  }

  get updates(): Update[] {
    return this.said("update");
  }

  said<Case extends Said["$case"]>(kind: Case): ValueOf<Case>[] {
    return this.heard.filter(({ $case }) => $case === kind).map(({ value }) => value as ValueOf<Case>);
  }

  hold(plan: TestPlan): void {
    this.#plans.set(plan.planId, plan.bytes);
  }

  /** The plan's next deliveries end before its last byte, or come whole again. */
  truncate(planId: PlanId, on: boolean): void {
    if (on) this.#cut.add(planId);
    else this.#cut.delete(planId);
  }

  send(message: Answer): void {
    for (const call of this.#calls) call.write({ message });
  }

  /** Every session ends with an error, as if the process had died. */
  breakSessions(): void {
    for (const call of this.#calls) call.emit("error", { code: 14, details: "broken by the test" });
    this.#calls = [];
  }

  close(): void {
    this.#server.forceShutdown();
  }

  #plan(call: PlanCall): void {
    const bytes = this.#plans.get(call.request.planId);
    if (bytes === undefined) {
      call.emit("error", { code: 5, details: "no such plan" });
      return;
    }
    const end = this.#cut.has(call.request.planId) ? bytes.byteLength - 100 : bytes.byteLength;
    for (let offset = 0; offset < end; offset += 1024) {
      const chunk = Buffer.from(bytes.subarray(offset, Math.min(offset + 1024, end)));
      const signed = offset === 0 ? this.signs(call.request.planId as PlanId) : UNSIGNED;
      call.write({ offset: BigInt(offset), totalBytes: BigInt(bytes.byteLength), chunk, ...signed });
    }
    call.end();
  }

  #session(call: Call): void {
    this.#calls.push(call);
    const gone = () => {
      this.#calls = this.#calls.filter((other) => other !== call);
    };
    call.on("error", gone);
    call.on("cancelled", gone);
    call.on("end", () => {
      gone();
      call.end();
    });
    call.on("data", ({ message }: SessionRequest) => {
      if (message === undefined) return;
      this.heard.push(message);
      if (message.$case === "hello") this.#welcome(call);
      if (message.$case === "update") this.#answer(call, message.value);
      if (message.$case === "heartbeat") call.write({ message });
      if (message.$case === "report" && this.answersReports) {
        call.write({ message: { $case: "reportResult", value: { reportId: message.value.reportId } } });
      }
    });
  }

  #welcome(call: Call): void {
    const value = { coordinatorVersion: "test", serverTimeMs: 0n, unknownCohorts: [] };
    call.write({ message: { $case: "welcome", value } });
    for (const message of this.greeting) call.write({ message });
  }

  #answer(call: Call, update: Update): void {
    const answer = this.answerTo(update);
    if (answer === null) return;
    const { status, retryAfterMs = 0 } = answer;
    const value = { updateId: update.updateId, status, reason: "", retryAfterMs };
    call.write({ message: { $case: "updateResult", value } });
  }
}

export const planChanged = (cohort: string, { planId }: TestPlan): Answer => ({
  $case: "planChanged",
  value: { cohort, planId },
});

export const globalModel = (
  cohort: string,
  plan: TestPlan,
  {
    version = 1,
    trained = false,
    weights = plan.initialWeights,
    factor = 0,
    scales = [],
    thresholdFactor,
    trainWhenInvited = false,
  }: Partial<{
    version: number;
    trained: boolean;
    weights: Float32Array;
    factor: number;
    scales: number[];
    thresholdFactor: number;
    trainWhenInvited: boolean;
  }> = {},
): Answer => ({
  $case: "globalModel",
  value: {
    cohort,
    planId: plan.planId,
    globalVersion: BigInt(version),
    weights: Buffer.from(encodeWeights(weights)),
    trained,
    learningRateFactor: factor,
    scales,
    thresholdFactor,
    trainWhenInvited,
  },
});

export const feedback = (
  cohort: string,
  version: number,
  factor: number,
  { promoted = true, planId = "" }: { readonly promoted?: boolean; readonly planId?: string } = {},
): Answer => ({
  $case: "feedback",
  value: { cohort, globalVersion: BigInt(version), promoted, learningRateFactor: factor, reason: "", planId },
});
