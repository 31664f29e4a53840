// Coordinators of the benchmark as processes of their own, with what they and their database take of the machine.
import { chmod, mkdir, readFile } from "node:fs/promises";
import { join } from "node:path";
import pg from "pg";
import { type Program, startProgram } from "../../cli/demo/processes.ts";
import { openPlanSigner } from "../../coordinator/adapters/signing-key.ts";
import type { HostAndPort } from "../../runtime/config.ts";
import { cpuMsOf, cpuMsOfFamily, type Memory, memoryOf } from "../process-figures.ts";
import { type MadeCohort, writeCohort } from "./cohorts.ts";

/** CPU milliseconds since each began; null where Linux does not tell. */
export interface Cpu {
  readonly coordinator: number | null;
  readonly postgres: number | null;
}

export class BenchCoordinator {
  readonly #program: Program;
  readonly #postgresFolder: string;
  readonly #postgresPid: number;

  /** `database`: of a server that was started for it; absent: its own embedded one. */
  static async start(folder: string, cohorts: readonly MadeCohort[], database?: Database): Promise<BenchCoordinator> {
    await mkdir(folder, { recursive: true });
    await chmod(folder, 0o711); // run by root, the database server is another user and has to pass through
    if (database) await openPlanSigner(undefined, database.folder);
    const variables = {
      FLEAD_PLANS: (await Promise.all(cohorts.map((cohort) => writeCohort(folder, cohort)))).join(","),
      FLEAD_HELD_OUT: "",
      FLEAD_DATA_DIR: folder,
      FLEAD_GRPC_ADDRESS: "127.0.0.1:0",
      FLEAD_HTTP_ADDRESS: "127.0.0.1:0",
      DATABASE_URL: database?.url ?? "",
      ...(database && { FLEAD_SIGNING_KEY_FILE: join(database.folder, "signing-key.pem") }),
      FLEAD_LOG_LEVEL: "warn",
    };
    const program = await startProgram("coordinator", ["coordinator"], variables, join(folder, "coordinator.log"));
    const postgres = join(database?.folder ?? folder, "postgres");
    return new BenchCoordinator(program, postgres, await postmasterPid(postgres));
  }

  private constructor(program: Program, postgresFolder: string, postgresPid: number) {
    this.#program = program;
    this.#postgresFolder = postgresFolder;
    this.#postgresPid = postgresPid;
  }

  get pid(): number {
    return this.#program.pid;
  }

  get address(): HostAndPort {
    const [host = "", port] = (this.#program.ready.grpc ?? "").split(":");
    return { host, port: Number(port) };
  }

  get url(): string {
    return this.#program.ready.url ?? "";
  }

  get memory(): Memory | null {
    return memoryOf(this.pid);
  }

  get cpu(): Cpu {
    return { coordinator: cpuMsOf(this.pid), postgres: cpuMsOfFamily(this.#postgresPid) };
  }

  /** One row of its database. */
  async ask<Row extends pg.QueryResultRow>(query: string): Promise<Row> {
    const client = new pg.Client(socketOf(this.#postgresFolder));
    await client.connect();
    try {
      return (await client.query<Row>(query)).rows[0] as Row;
    } finally {
      await client.end();
    }
  }

  stop(): Promise<void> {
    return this.#program.stop();
  }
}

/** A server that coordinators share. */
export interface Database {
  /** That holds its `postgres`. */
  readonly folder: string;
  readonly url: string;
}

/** How to reach the embedded server whose files lie in `postgresFolder`. */
export function socketOf(postgresFolder: string) {
  return { host: join(postgresFolder, "socket"), user: "flead", database: "postgres" };
}

export async function postmasterPid(postgresFolder: string): Promise<number> {
  return Number.parseInt(await readFile(join(postgresFolder, "cluster/postmaster.pid"), "utf8"), 10);
}

export function cpuSince(before: Cpu, now: Cpu): Cpu {
  const difference = (a: number | null, b: number | null) => (a === null || b === null ? null : b - a);
  return {
    coordinator: difference(before.coordinator, now.coordinator),
    postgres: difference(before.postgres, now.postgres),
  };
}

export const per = (total: number | null, count: number) => (total === null || count === 0 ? null : total / count);
