// The session service: one bidirectional stream a gateway, its messages handled one after the other.
import type { ServerDuplexStream } from "@grpc/grpc-js";
import { status } from "@grpc/grpc-js";
import { cohortId } from "../../../learning/ids.ts";
import {
  FederationServiceService,
  type SessionRequest,
  type SessionResponse,
} from "../../../proto/gen/flead/v1/federation.ts";
import type { Fleet } from "../../ports/fleet.ts";
import type { GatewayAction } from "../../ports/notices.ts";
import type { Service } from "../grpc-server.ts";
import type { Gateway, SessionDeps } from "./deps.ts";
import { type Greeting, greet } from "./hello.ts";
import { feedbackMessage, globalModel, invitationMessage, respond } from "./messages.ts";
import { addReport } from "./report.ts";
import { pushUpdate } from "./update.ts";

type Call = ServerDuplexStream<SessionRequest, SessionResponse>;

interface Session {
  readonly call: Call;
  readonly gateway: Gateway;
}

const HELLO_TIMEOUT_MS = 10_000;
/** Heartbeats come every 15 s; three missed ones end the session. */
const SILENCE_TIMEOUT_MS = 45_000;
const MAX_UNREAD_MESSAGES = 256;
const MAX_SESSIONS = 10_000;
const DRAIN_RECONNECT_MS = 1_000;

export interface Sessions extends Fleet {
  readonly service: Service;
  /** Asks every gateway to come back later, to this coordinator or another. */
  drain(): void;
}

export function openSessions(deps: SessionDeps): Sessions {
  /** The newest session of each gateway; an older one is ended when its gateway comes again. */
  const sessions = new Map<string, Session>();

  const send = (session: Session, message: SessionResponse) => {
    if (session.call.writableLength >= MAX_UNREAD_MESSAGES) {
      deps.problems.report(
        "slow_reader",
        `gateway ${session.gateway.gatewayId}`,
        "its session is ended: it does not read",
      );
      session.call.destroy();
      return;
    }
    if (session.call.writable) session.call.write(message);
  };

  const handle = handlers(deps);

  const serve = async (call: Call) => {
    let session: Session | null = null;
    const hangUpAfter = (ms: number) =>
      setTimeout(() => fail(call, status.DEADLINE_EXCEEDED, `silent for ${ms} ms`), ms);
    let silence = hangUpAfter(HELLO_TIMEOUT_MS);
    try {
      // Leaving the loop must not destroy the stream: the status that says why has yet to be sent.
      const requests: AsyncIterable<SessionRequest> = call.iterator({ destroyOnReturn: false });
      for await (const { message } of requests) {
        clearTimeout(silence);
        silence = hangUpAfter(SILENCE_TIMEOUT_MS);
        if (message === undefined) continue; // a newer agent's message
        if (session === null) {
          if (message.$case !== "hello") return fail(call, status.FAILED_PRECONDITION, "a session begins with hello");
          if (sessions.size >= MAX_SESSIONS)
            return fail(call, status.RESOURCE_EXHAUSTED, `${MAX_SESSIONS} sessions are open`);
          session = open(call, await greet(deps)(message.value));
          continue;
        }
        const answer = await handle(session, message);
        if (answer) send(session, answer);
      }
      call.end();
    } finally {
      clearTimeout(silence);
      if (session) await close(session);
    }
  };

  const open = (call: Call, { gateway, responses }: Greeting): Session => {
    const session = { call, gateway };
    const older = sessions.get(gateway.gatewayId);
    if (older) fail(older.call, status.ABORTED, "the gateway began a newer session");
    sessions.set(gateway.gatewayId, session);
    for (const response of responses()) send(session, response);
    send(session, command("", "send_report"));
    deps.log.info({ gateway: gateway.gatewayId, sessions: sessions.size }, "gateway connected");
    return session;
  };

  const close = async (session: Session) => {
    const { gatewayId } = session.gateway;
    if (sessions.get(gatewayId) !== session) return; // a newer session of the gateway took over
    sessions.delete(gatewayId);
    deps.log.info({ gateway: gatewayId, sessions: sessions.size }, "gateway disconnected");
    await deps.gateways.disconnected(gatewayId).catch(unstored(deps, `departure of ${gatewayId}`));
  };

  return {
    service: {
      definition: FederationServiceService,
      implementation: {
        session: (call: Call) => {
          call.on("error", () => undefined); // ends the loop below; a broken connection is not a fault
          serve(call).catch((error: Error) => {
            if (call.cancelled || call.destroyed) return;
            deps.problems.report("session_refused", call.getPeer(), error.message);
            fail(call, status.INVALID_ARGUMENT, error.message);
          });
        },
      },
    },
    announce: (cohort, promoted, feedback) => {
      // The champion goes first, so that the feedback that names it finds it there.
      if (promoted) {
        for (const session of sessions.values())
          if (session.gateway.cohorts.has(cohort.cohort)) send(session, globalModel(cohort));
      }
      for (const entry of feedback) {
        const session = sessions.get(entry.gatewayId);
        if (session) send(session, feedbackMessage(entry));
      }
    },
    invite: (invitation) => {
      for (const gateway of invitation.gateways) {
        const session = sessions.get(gateway);
        if (session) send(session, invitationMessage(invitation, Date.now()));
      }
    },
    movedAway: (gateway) => {
      const session = sessions.get(gateway);
      if (session) fail(session.call, status.ABORTED, "the gateway began a newer session");
    },
    command: (gateway, commandId, action) => {
      const session = sessions.get(gateway);
      if (session) send(session, command(commandId, action));
    },
    drain: () => {
      for (const session of sessions.values()) send(session, command("", "reconnect"));
    },
  };
}

function command(commandId: string, action: GatewayAction): SessionResponse {
  const value =
    action === "send_report"
      ? ({ $case: "sendReport", value: {} } as const)
      : ({ $case: "drain", value: { reconnectAfterMs: DRAIN_RECONNECT_MS } } as const);
  return respond({ $case: "command", value: { commandId, action: value } });
}

function fail(call: Call, code: status, details: string): void {
  if (call.writable) call.emit("error", { code, details });
}

const unstored = (deps: SessionDeps, what: string) => (error: Error) =>
  deps.problems.report("database", what, error.message);

type Incoming = NonNullable<SessionRequest["message"]>;

/** One handler a message; what changes state is durable before its answer. */
function handlers(deps: SessionDeps) {
  const update = pushUpdate(deps);
  const report = addReport(deps);
  return async ({ gateway }: Session, message: Incoming): Promise<SessionResponse | null> => {
    switch (message.$case) {
      case "update":
        return update(gateway, message.value);
      case "report":
        return report(gateway, message.value);
      case "feedbackAcknowledgement": {
        const { cohort, globalVersion } = message.value;
        // Not stored means not acknowledged: the feedback comes again on the next hello.
        await deps.gateways
          .acknowledgeFeedback(gateway.gatewayId, cohortId(cohort), Number(globalVersion))
          .catch(unstored(deps, `acknowledgement of ${gateway.gatewayId}`));
        return null;
      }
      case "heartbeat":
        await deps.gateways.seen(gateway.gatewayId).catch(unstored(deps, `heartbeat of ${gateway.gatewayId}`));
        return respond({ $case: "heartbeat", value: message.value });
      case "hello":
        return null; // said once; a second one changes nothing
    }
  };
}
