// What the same bytes cost without a coordinator: a bare gRPC echo, and a bare batched insert of the same rows.
import { type ChildProcess, fork } from "node:child_process";
import { once } from "node:events";
import { mkdir } from "node:fs/promises";
import { join } from "node:path";
import pg from "pg";
import { ulid } from "ulid";
import { openDatabase } from "../../coordinator/adapters/database.ts";
import { SessionRequest, SessionResponse, UpdateStatus } from "../../proto/gen/flead/v1/federation.ts";
import { createLogger } from "../../runtime/log.ts";
import { packageRoot } from "../../runtime/package-root.ts";
import { pause } from "../../runtime/retry.ts";
import { cpuMsOf, cpuMsOfFamily } from "../process-figures.ts";
import type { EchoOrder } from "./echo-worker.ts";
import { per, postmasterPid, socketOf } from "./programs.ts";

export interface Floor {
  readonly perSecond: number;
  /** Of the server alone; null: Linux does not tell. */
  readonly serverCpuMs: number | null;
}

/** As an agent writes it. */
const anUpdate = (delta: Uint8Array) => ({
  updateId: ulid(),
  cohort: "simulated",
  planId: "0".repeat(64),
  baseVersion: 1n,
  localSteps: 1n,
  samples: 25n,
  loss: 0.5,
  encoding: 3 as const,
  delta: Buffer.from(delta),
  roundId: 0n,
});

class EchoProcess {
  readonly #child: ChildProcess;

  constructor() {
    this.#child = fork(join(packageRoot, "dist/bench/coordinator/echo-worker.js"), [], {
      execArgv: [],
      serialization: "advanced",
      stdio: ["ignore", "ignore", "inherit", "ipc"],
    });
  }

  get pid(): number {
    return this.#child.pid as number;
  }

  async ask(order: EchoOrder): Promise<number> {
    this.#child.send(order);
    const [answer] = await once(this.#child, "message");
    return answer;
  }

  async stop(): Promise<void> {
    this.#child.disconnect();
    await once(this.#child, "exit");
  }
}

/** Updates up, results down, as many sessions in as many processes as the fleet has, one message in flight each. */
export async function echoFloor(
  delta: Uint8Array,
  sessions: number,
  warmMs: number,
  measureMs: number,
): Promise<Floor> {
  const update = anUpdate(delta);
  const request = SessionRequest.encode({ message: { $case: "update", value: update } }).finish();
  const result = { updateId: update.updateId, status: UpdateStatus.ACCEPTED, reason: "", retryAfterMs: 0 };
  const answer = SessionResponse.encode({ message: { $case: "updateResult", value: result } }).finish();
  const server = new EchoProcess();
  const clients = Array.from({ length: Math.min(2, sessions) }, () => new EchoProcess());
  const read = async () =>
    (await Promise.all(clients.map((client) => client.ask({ do: "read" })))).reduce((sum, count) => sum + count, 0);
  try {
    const port = await server.ask({ do: "serve", answer });
    const each = Math.ceil(sessions / clients.length);
    await Promise.all(clients.map((client) => client.ask({ do: "load", port, sessions: each, request })));
    await pause(warmMs);
    await read();
    const cpu = cpuMsOf(server.pid);
    const startedMs = performance.now();
    await pause(measureMs);
    const count = await read();
    const perSecond = (1000 * count) / (performance.now() - startedMs);
    return { perSecond, serverCpuMs: per(since(cpu, cpuMsOf(server.pid)), count) };
  } finally {
    await Promise.all([...clients, server].map((end) => end.stop()));
  }
}

const since = (before: number | null, now: number | null) => (before === null || now === null ? null : now - before);

const BATCH_ROWS = 100;
const CONNECTIONS = 2;
const COLUMNS =
  "update_id, cohort, plan_id, gateway_id, model_version, global_version, samples_processed, loss, status, encoding, delta";
const WIDTH = COLUMNS.split(",").length;

/** A PostgreSQL with the coordinator's tables and none of its load. */
export class InsertFloor {
  readonly #pool: pg.Pool;
  readonly #postmaster: number;
  readonly #close: () => Promise<void>;
  readonly #statement: string;

  static async open(folder: string): Promise<InsertFloor> {
    await mkdir(folder, { recursive: true, mode: 0o711 });
    const database = await openDatabase({ dataDir: folder, log: createLogger("bench", "silent") });
    const postgres = join(folder, "postgres");
    return new InsertFloor(postgres, await postmasterPid(postgres), () => database.close());
  }

  private constructor(postgres: string, postmaster: number, close: () => Promise<void>) {
    this.#pool = new pg.Pool({ ...socketOf(postgres), max: CONNECTIONS });
    this.#postmaster = postmaster;
    this.#close = close;
    const rows = Array.from({ length: BATCH_ROWS }, (_, row) => {
      const parameters = Array.from({ length: WIDTH }, (_, column) => `$${row * WIDTH + column + 1}`);
      return `(${parameters.join(", ")})`;
    });
    this.#statement = `INSERT INTO local_models (${COLUMNS}) VALUES ${rows.join(", ")}`;
  }

  /** Rows of an update each, a hundred a statement, committed durably one statement after the other on two connections. */
  async measure(delta: Uint8Array, encoding: string, warmMs: number, measureMs: number): Promise<Floor> {
    let rows = 0;
    let over = false;
    const insert = async () => {
      while (!over) {
        const ids = Array.from({ length: BATCH_ROWS }, () => ulid());
        const plan = "0".repeat(64);
        const values = ids.flatMap((id, row) => [
          ...[id, "simulated", plan, `simulated-${row}`, 1, 1, 25, 0.5, "accepted", encoding],
          delta,
        ]);
        await this.#pool.query({ name: "insert", text: this.#statement, values });
        rows += BATCH_ROWS;
      }
    };
    const inserting = Promise.all(Array.from({ length: CONNECTIONS }, insert));
    await pause(warmMs);
    rows = 0;
    const cpu = cpuMsOfFamily(this.#postmaster);
    const startedMs = performance.now();
    await pause(measureMs);
    const count = rows;
    const seconds = (performance.now() - startedMs) / 1000;
    const serverCpuMs = per(since(cpu, cpuMsOfFamily(this.#postmaster)), count);
    over = true;
    await inserting;
    await this.#pool.query("TRUNCATE local_models");
    return { perSecond: count / seconds, serverCpuMs };
  }

  async close(): Promise<void> {
    await this.#pool.end();
    await this.#close();
  }
}
