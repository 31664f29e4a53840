// Notices between coordinators by LISTEN and NOTIFY, on a connection of their own.
import { z } from "zod";
import { gatewayCommandSchema } from "../../proto/gateway-command.ts";
import type { Logger } from "../../runtime/log.ts";
import { backoffMs, pause, within } from "../../runtime/retry.ts";
import type { Notice, Notices } from "../ports/notices.ts";
import type { Database } from "./database.ts";

const CHANNEL = "flead";
const RECONNECT = { firstMs: 200, maxMs: 5_000 };
/** More than that unheard means that this replica is far behind: then it looks at everything once instead. */
const MAX_UNHEARD = 10_000;
/** A connection that broke without a word is noticed by asking: one without an answer hears nothing any more. */
const ASK_EVERY_MS = 5_000;
const ASK_TIMEOUT_MS = 5_000;

const text = z.string().max(128);
const noticeSchema = z.discriminatedUnion("kind", [
  z.object({ kind: z.literal("cohort"), cohort: text }),
  z.object({ kind: z.literal("updates"), cohort: text }),
  z.object({ kind: z.literal("session"), gatewayId: text, replicaId: text }),
  z.object({ kind: z.literal("command"), gatewayId: text, commandId: text, command: gatewayCommandSchema }),
]);

export function postgresNotices(database: Pick<Database, "connect" | "pool">, log: Logger): Notices {
  return {
    tell: async (notice) => {
      await database.pool.query("SELECT pg_notify($1, $2)", [CHANNEL, JSON.stringify(notice)]);
    },

    heard: async function* (signal) {
      const unheard = new Unheard(signal);
      const listening = keepListening(database, unheard, signal, log);
      try {
        while (!signal.aborted) {
          yield* unheard.take();
          await unheard.arrival();
        }
      } finally {
        await listening;
      }
    },
  };
}

/** Connects again and again, each time a "resync": what was said in between is lost. Never rejects. */
async function keepListening(
  database: Pick<Database, "connect">,
  unheard: Unheard,
  signal: AbortSignal,
  log: Logger,
): Promise<void> {
  for (let attempt = 0; !signal.aborted; attempt++) {
    try {
      await listenOnce(database, unheard, signal, () => {
        attempt = 0;
      });
    } catch (error) {
      if (!signal.aborted) log.warn({ err: error }, "the connection that hears other coordinators was lost");
    }
    if (!signal.aborted) await pause(backoffMs(attempt, RECONNECT, Math.random), signal);
  }
}

/** Until the connection breaks, which rejects, or `signal` aborts. */
async function listenOnce(
  database: Pick<Database, "connect">,
  unheard: Unheard,
  signal: AbortSignal,
  onListening: () => void,
): Promise<void> {
  const client = await database.connect("flead-notices");
  const broken = new AbortController();
  const breakOff = (error?: Error) => broken.abort(error ?? new Error("the server closed the connection"));
  client.on("error", breakOff);
  client.on("end", () => breakOff());
  client.on("notification", ({ payload }) => {
    const notice = parse(payload);
    if (notice !== null) unheard.add(notice);
  });
  const over = AbortSignal.any([signal, broken.signal]);
  try {
    await client.query(`LISTEN ${CHANNEL}`);
    onListening();
    unheard.resync();
    while (!over.aborted) {
      await pause(ASK_EVERY_MS, over);
      if (!over.aborted) await within(ASK_TIMEOUT_MS, client.query("SELECT 1"));
    }
    if (!signal.aborted) throw broken.signal.reason;
  } finally {
    await client.end().catch(() => undefined);
  }
}

/** Null for what a newer coordinator says. */
function parse(payload: string | undefined): Notice | null {
  try {
    return noticeSchema.safeParse(JSON.parse(payload ?? "")).data ?? null;
  } catch {
    return null;
  }
}

/** What has come and was not taken yet; at most MAX_UNHEARD, then one "resync" in their place. */
class Unheard {
  readonly #signal: AbortSignal;
  #waiting: (Notice | "resync")[] = [];
  #wake: () => void = () => undefined;

  constructor(signal: AbortSignal) {
    this.#signal = signal;
    signal.addEventListener("abort", () => this.#wake(), { once: true });
  }

  add(notice: Notice): void {
    if (this.#waiting.length < MAX_UNHEARD) this.#waiting.push(notice);
    else this.#waiting = ["resync"];
    this.#wake();
  }

  resync(): void {
    this.#waiting = ["resync"];
    this.#wake();
  }

  take(): (Notice | "resync")[] {
    const taken = this.#waiting;
    this.#waiting = [];
    return taken;
  }

  /** Resolves once something waits, or the signal aborts. */
  arrival(): Promise<void> {
    if (this.#waiting.length > 0 || this.#signal.aborted) return Promise.resolve();
    return new Promise((resolve) => {
      this.#wake = resolve;
    });
  }
}
