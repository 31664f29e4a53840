// Coordinators as processes over one PostgreSQL, each of which a test may kill at any moment.
import { existsSync, mkdirSync, readFileSync } from "node:fs";
import { join } from "node:path";
import pg from "pg";
import { openPlanSigner } from "../../coordinator/adapters/signing-key.ts";
import { eventually } from "./eventually.ts";
import { freePort } from "./mosquitto.ts";
import { Life } from "./process-fleet.ts";
import { type SharedPostgres, startSharedPostgres } from "./shared-postgres.ts";

export interface Replica {
  readonly name: string;
  /** The same in every life. */
  readonly grpc: string;
  readonly url: string;
  readonly life: Life;
  readonly replicaId: string;
}

interface Place {
  readonly name: string;
  readonly grpcPort: number;
  readonly httpPort: number;
  readonly logFile: string;
}

export class ReplicaFleet {
  readonly postgres: SharedPostgres;
  /** For what a test asks and does as an operator of the database would. */
  readonly admin: pg.Pool;
  readonly #folder: string;
  readonly #places: readonly Place[];
  readonly #alive = new Map<string, Replica>();
  readonly #killed = new Set<Replica>();
  /** Names of coordinators whose process ended though nobody killed it. */
  readonly endedByThemselves: string[] = [];

  /** `folder` holds plan.yaml and, if anything is to be evaluated, held-out. */
  static async open(folder: string, replicas: number): Promise<ReplicaFleet> {
    mkdirSync(join(folder, "held-out"), { recursive: true });
    const postgres = await startSharedPostgres(folder);
    const places: Place[] = [];
    for (let nth = 1; nth <= replicas; nth++) {
      const name = `replica-${nth}`;
      const logFile = join(folder, `${name}.log`);
      places.push({ name, grpcPort: await freePort(), httpPort: await freePort(), logFile });
    }
    await openPlanSigner(undefined, folder);
    const fleet = new ReplicaFleet(folder, postgres, places);
    try {
      await Promise.all(places.map(({ name }) => fleet.start(name)));
    } catch (error) {
      await fleet.close();
      throw error;
    }
    return fleet;
  }

  private constructor(folder: string, postgres: SharedPostgres, places: readonly Place[]) {
    this.#folder = folder;
    this.postgres = postgres;
    this.#places = places;
    const readBigints = (oid: number, format: "text" | "binary") =>
      oid === pg.types.builtins.INT8 ? Number : pg.types.getTypeParser(oid, format as "text");
    this.admin = new pg.Pool({
      connectionString: postgres.url,
      max: 4,
      types: { getTypeParser: readBigints as typeof pg.types.getTypeParser },
    });
    this.admin.on("error", () => undefined); // the server may be restarted under it
  }

  get names(): string[] {
    return this.#places.map(({ name }) => name);
  }

  get addresses(): string[] {
    return this.#places.map(({ grpcPort }) => `localhost:${grpcPort}`);
  }

  get alive(): Replica[] {
    return [...this.#alive.values()];
  }

  async start(name: string): Promise<Replica> {
    const place = this.#places.find((each) => each.name === name);
    if (place === undefined) throw new Error(`there is no ${name}`);
    const lives = replicaIds(place.logFile).length;
    const life = new Life(
      "coordinator",
      {
        DATABASE_URL: this.postgres.url,
        FLEAD_PLANS: join(this.#folder, "plan.yaml"),
        FLEAD_HELD_OUT: join(this.#folder, "held-out"),
        FLEAD_DATA_DIR: join(this.#folder, name),
        FLEAD_SIGNING_KEY_FILE: join(this.#folder, "signing-key.pem"),
        FLEAD_GRPC_ADDRESS: `127.0.0.1:${place.grpcPort}`,
        FLEAD_HTTP_ADDRESS: `127.0.0.1:${place.httpPort}`,
      },
      place.logFile,
    );
    await life.ready;
    const replica = {
      name,
      grpc: `localhost:${place.grpcPort}`,
      url: `http://127.0.0.1:${place.httpPort}`,
      life,
      replicaId: await lastReplicaId(place.logFile, lives),
    };
    this.#alive.set(name, replica);
    void life.ended.then(() => {
      if (this.#alive.get(name) === replica) this.#alive.delete(name);
      if (!this.#killed.has(replica)) this.endedByThemselves.push(name);
    });
    return replica;
  }

  /** Resolves when the process is no more. */
  async kill(replica: Replica): Promise<void> {
    this.#killed.add(replica);
    replica.life.kill();
    await replica.life.ended;
  }

  /** Whose connection holds the lock. */
  async leader(): Promise<Replica> {
    return eventually("one of the coordinators leads", async () => {
      const { rows } = await this.admin.query(
        `SELECT a.application_name AS name FROM pg_locks l JOIN pg_stat_activity a USING (pid)
         WHERE l.locktype = 'advisory' AND l.granted AND a.application_name LIKE 'flead-leader %'`,
      );
      return this.alive.find(({ replicaId }) => rows.some(({ name }) => name === `flead-leader ${replicaId}`));
    });
  }

  /** What `statement` locks is kept from everybody until it is let go. */
  async lock(statement: string): Promise<() => Promise<void>> {
    const client = await this.admin.connect();
    await client.query("BEGIN");
    await client.query(statement);
    return async () => {
      await client.query("ROLLBACK");
      client.release();
    };
  }

  async waitsForTheLock(): Promise<void> {
    await eventually("a coordinator waits for what is locked", async () => {
      const { rowCount } = await this.admin.query(
        "SELECT FROM pg_stat_activity WHERE application_name = 'flead-coordinator' AND wait_event_type = 'Lock'",
      );
      return rowCount || undefined;
    });
  }

  async close(): Promise<void> {
    await Promise.all(this.alive.map((replica) => this.kill(replica)));
    await this.admin.end();
    await this.postgres.stop();
  }
}

/** Of every life that the log tells of. */
function replicaIds(logFile: string): string[] {
  if (!existsSync(logFile)) return [];
  return [...readFileSync(logFile, "utf8").matchAll(/"replicaId":"([0-9A-Z]{26})"/g)].map(([, id]) => id ?? "");
}

/** Of the life after the first `lives`. */
const lastReplicaId = (logFile: string, lives: number) =>
  eventually(`${logFile} names a replica`, () => replicaIds(logFile)[lives]);
