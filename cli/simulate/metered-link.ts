// A coordinator link that tells a meter what passes, and lets no more than a few connections begin at once.
import type { CoordinatorLink, FromCoordinator, Session, ToCoordinator } from "../../agent/ports/coordinator-link.ts";
import type { Meter } from "./meter.ts";

/** Work of which at most `limit` runs at a time; the rest waits its turn. */
export class Turnstile {
  readonly #waiting: (() => void)[] = [];
  #free: number;

  constructor(limit: number) {
    this.#free = limit;
  }

  async pass<Result>(work: () => Promise<Result>): Promise<Result> {
    if (this.#free > 0) this.#free--;
    else await new Promise<void>((resolve) => this.#waiting.push(resolve));
    try {
      return await work();
    } finally {
      const next = this.#waiting.shift();
      if (next) next();
      else this.#free++;
    }
  }
}

export function meteredLink(link: CoordinatorLink, meter: Meter, turnstile: Turnstile): CoordinatorLink {
  return {
    connect: async (hello, signal) => {
      const session = await turnstile.pass(() => link.connect(hello, signal));
      meter.count("sessionsOpened");
      return meteredSession(session, meter);
    },
    fetchPlan: async (planId, signal) => {
      const plan = await link.fetchPlan(planId, signal);
      meter.count("plansFetched");
      return plan;
    },
    close: () => link.close(),
  };
}

function meteredSession(session: Session, meter: Meter): Session {
  return {
    unknownCohorts: session.unknownCohorts,
    messages: heard(session.messages, meter),
    send: (message) => {
      countSent(message, meter);
      return session.send(message);
    },
    close: () => session.close(),
  };
}

function countSent(message: ToCoordinator, meter: Meter): void {
  if (message.kind === "update") meter.sent(message.update);
  else if (message.kind === "report") meter.count("reportsSent");
}

async function* heard(messages: AsyncIterable<FromCoordinator>, meter: Meter): AsyncGenerator<FromCoordinator> {
  for await (const message of messages) {
    if (message.kind === "updateResult") meter.answered(message.updateId, message.status, message.reason);
    else if (message.kind === "reportResult") meter.count("reportsAnswered");
    else if (message.kind === "feedback") meter.count("feedback");
    else if (message.kind === "drain") meter.count("drains");
    yield message;
  }
}
