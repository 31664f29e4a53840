// The session service: one bidirectional stream a gateway, its messages handled in order; only updates wait side by side.
import { Metadata, status } from "@grpc/grpc-js";
import { cohortId, gatewayId } from "../../../learning/ids.ts";
import type { SessionRequest, SessionResponse } from "../../../proto/gen/flead/v1/federation.ts";
import { within } from "../../../runtime/retry.ts";
import type { Fleet } from "../../ports/fleet.ts";
import type { Service } from "../grpc-server.ts";
import { Acknowledgements } from "./acknowledgements.ts";
import { Admission, NotAdmittedError } from "./admission.ts";
import { DATABASE_ANSWER_MS, type Gateway, type SessionDeps } from "./deps.ts";
import { championSubject, type Greeting, greet, StandingUnknownError } from "./hello.ts";
import { commandMessage, feedbackMessage, globalModel, invitationMessage, planChanged, respond } from "./messages.ts";
import { type Outlet, Outlets } from "./outlets.ts";
import { Presence } from "./presence.ts";
import { addReport } from "./report.ts";
import { type Call, encoded, encodedOnce, oneAtATime, sessionDefinition, type Taken } from "./stream.ts";
import { pushUpdate } from "./update.ts";

interface Session {
  readonly call: Call;
  readonly gateway: Gateway;
  readonly outlet: Outlet;
  /** Of updates; the next request is read when there are fewer than MAX_UNANSWERED. */
  readonly unanswered: Set<Promise<void>>;
}

const HELLO_TIMEOUT_MS = 10_000;
/** Heartbeats come every 15 s; three missed ones end the session. */
const SILENCE_TIMEOUT_MS = 45_000;
/** Updates of one session that wait to be durable; further ones stay at the gateway. */
const MAX_UNANSWERED = 8;
const FAREWELL_MS = 5_000;
const UNREAD_LIMITS = { maxBytes: 32 * 1024 * 1024, patience: 30, hurry: 2, maxMessages: 256 };
const UNREAD_CHECK_MS = 1_000;
const TELL_PRESENCE_MS = 5_000;
const TELL_ACKNOWLEDGED_MS = 1_000;

export interface Sessions extends Fleet {
  readonly service: Service;
  /** Asks every gateway to come back later, to this coordinator or another. */
  drain(): void;
  close(): Promise<void>;
}

export function openSessions(deps: SessionDeps): Sessions {
  /** The newest session of each gateway; an older one is ended when its gateway comes again. */
  const sessions = new Map<string, Session>();
  const admission = new Admission(deps.limits, Date.now, Math.random);
  const outlets = new Outlets(UNREAD_LIMITS);
  const checks = setInterval(() => outlets.check(), UNREAD_CHECK_MS).unref();
  const championOf = encodedOnce(globalModel);
  const hello = greet(deps, championOf);
  const presence = new Presence(deps.gateways);
  const telling = setInterval(() => presence.tell().catch(unstored(deps, "presence")), TELL_PRESENCE_MS).unref();
  const acknowledgements = new Acknowledgements(deps.gateways);
  const tellAcknowledged = () =>
    within(DATABASE_ANSWER_MS, acknowledgements.tell()).catch(unstored(deps, "acknowledgements of feedback"));
  const noting = setInterval(tellAcknowledged, TELL_ACKNOWLEDGED_MS).unref();
  const handle = handlers(deps, presence, acknowledgements);

  const send = ({ outlet }: Session, response: SessionResponse) => outlet.send(encoded(response));

  /** Resolves when the session can take its next request. */
  const take = async (session: Session, message: Incoming): Promise<void> => {
    const answered = handle(session, message).then((answer) => {
      if (answer !== null) send(session, answer);
    });
    if (message.$case !== "update") return answered;
    const { unanswered } = session;
    const settled = answered
      .catch((error: Error) => refuse(session.call, error))
      .finally(() => unanswered.delete(settled));
    unanswered.add(settled);
    if (unanswered.size >= MAX_UNANSWERED) await Promise.race(unanswered);
  };

  /** Whatever ends the call, a status, its gateway or its connection, "close" comes last. */
  const serve = (call: Call) => {
    let session: Session | null = null;
    let silence = hangUpAfter(call, HELLO_TIMEOUT_MS);
    const leave = () => {
      clearTimeout(silence);
      if (session) void close(session);
    };
    const begin = async (message: Incoming) => {
      if (message.$case !== "hello") throw new Error("a session begins with hello");
      admission.greet(gatewayId(message.value.gatewayId));
      clearTimeout(silence);
      await tellAcknowledged(); // or what it acknowledged a moment ago would come again
      session = open(call, await hello(message.value));
      silence = hangUpAfter(call, SILENCE_TIMEOUT_MS);
      if (call.destroyed) leave();
    };
    const taken = async ({ request: { message } }: Taken) => {
      if (message === undefined) return; // a newer agent's
      if (session === null) return begin(message);
      await take(session, message);
      if (!call.destroyed) silence.refresh();
    };
    call.on("data", (each: Taken) => {
      taken(each)
        .then(() => deps.intake.whenCalm())
        .then(each.next, (error: Error) => refuse(call, error));
    });
    call.on("end", () => call.end());
    call.once("close", leave);
  };

  const refuse = (call: Call, error: Error) => {
    if (call.cancelled || call.destroyed) return;
    const kind = error instanceof StandingUnknownError ? "database" : "session_refused";
    deps.problems.report(kind, call.getPeer(), error.message);
    if (error instanceof NotAdmittedError) fail(call, status.RESOURCE_EXHAUSTED, error.message, error.retryAfterMs);
    else if (error instanceof StandingUnknownError) fail(call, status.UNAVAILABLE, error.message, error.retryAfterMs);
    else fail(call, status.INVALID_ARGUMENT, error.message);
  };

  const open = (call: Call, { gateway, responses }: Greeting): Session => {
    const outlet = outlets.open({
      write: (message, taken) => call.writable && call.write(message, taken),
      drop: (why) => {
        deps.problems.report("slow_reader", `gateway ${gateway.gatewayId}`, `its session is ended: ${why}`);
        call.destroy();
      },
    });
    call.once("close", () => outlet.close());
    const session = { call, gateway, outlet, unanswered: new Set<Promise<void>>() };
    const older = sessions.get(gateway.gatewayId);
    if (older) fail(older.call, status.ABORTED, "the gateway began a newer session");
    sessions.set(gateway.gatewayId, session);
    for (const { message, subject } of responses()) outlet.send(message, subject);
    send(session, commandMessage("", { action: "send_report" }));
    deps.log.info({ gateway: gateway.gatewayId, sessions: sessions.size }, "gateway connected");
    return session;
  };

  const close = async (session: Session) => {
    const { gatewayId } = session.gateway;
    if (sessions.get(gatewayId) !== session) return; // a newer session of the gateway took over
    sessions.delete(gatewayId);
    presence.left(gatewayId);
    deps.log.info({ gateway: gatewayId, sessions: sessions.size }, "gateway disconnected");
    await deps.gateways.disconnected(gatewayId).catch(unstored(deps, `departure of ${gatewayId}`));
  };

  return {
    service: {
      definition: sessionDefinition,
      interceptor: oneAtATime,
      implementation: {
        session: (call: Call) => {
          try {
            admission.enter();
          } catch (error) {
            refuse(call, error as Error);
            return;
          }
          call.once("close", () => admission.leave());
          serve(call);
        },
      },
    },
    planChanged: (cohort) => {
      const [changed, champion] = [encoded(planChanged(cohort)), championOf(cohort)];
      for (const { gateway, outlet } of sessions.values()) {
        if (!gateway.cohorts.has(cohort.cohort)) continue;
        outlet.send(changed);
        outlet.send(champion, championSubject(cohort));
      }
    },
    promoted: (cohort) => {
      const message = championOf(cohort);
      for (const { gateway, outlet } of sessions.values()) {
        const held = gateway.cohorts.get(cohort.cohort);
        if (held === undefined || (held !== cohort.planId && cohort.state !== "active")) continue;
        outlet.send(message, championSubject(cohort));
      }
    },
    feedback: (feedback) => {
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
    command: (gateway, commandId, command) => {
      const session = sessions.get(gateway);
      if (session) send(session, commandMessage(commandId, command));
    },
    drain: () => {
      for (const session of sessions.values()) send(session, commandMessage("", { action: "reconnect" }));
    },
    close: async () => {
      for (const timer of [checks, telling, noting]) clearInterval(timer);
      await tellAcknowledged();
    },
  };
}

const hangUpAfter = (call: Call, ms: number) =>
  setTimeout(() => fail(call, status.DEADLINE_EXCEEDED, `silent for ${ms} ms`), ms);

/** The status goes after what was sent before it; a peer that does not end its side then is hung up on. */
function fail(call: Call, code: status, details: string, retryAfterMs?: number): void {
  const metadata = new Metadata();
  if (retryAfterMs !== undefined) metadata.set("retry-after-ms", String(Math.ceil(retryAfterMs)));
  if (!call.writable) return;
  call.emit("error", { code, details, metadata });
  setTimeout(() => call.destroy(), FAREWELL_MS).unref();
}

const unstored = (deps: SessionDeps, what: string) => (error: Error) =>
  deps.problems.report("database", what, error.message);

type Incoming = NonNullable<SessionRequest["message"]>;

/** One handler a message; what changes state is durable before its answer. */
function handlers(deps: SessionDeps, presence: Presence, acknowledgements: Acknowledgements) {
  const update = pushUpdate(deps);
  const report = addReport(deps);
  return async ({ gateway }: Session, message: Incoming): Promise<SessionResponse | null> => {
    switch (message.$case) {
      case "update":
        return update(gateway, message.value);
      case "report":
        return report(gateway, message.value);
      case "feedbackAcknowledgement": {
        const { cohort } = message.value;
        const globalVersion = Number(message.value.globalVersion);
        if (!Number.isSafeInteger(globalVersion)) throw new Error(`there is no version ${message.value.globalVersion}`);
        const { gatewayId } = gateway;
        if (gateway.cohorts.has(cohort)) acknowledgements.add({ gatewayId, cohort: cohortId(cohort), globalVersion });
        return null;
      }
      case "heartbeat":
        presence.heard(gateway.gatewayId);
        return respond({ $case: "heartbeat", value: message.value });
      case "hello":
        return null; // said once; a second one changes nothing
    }
  };
}
