// How many updates are stored that no round has counted yet: a fleet that sends faster than rounds are held is told so,
// before its updates fill the disk.
import { type Kysely, sql } from "kysely";
import type { NewUpdate } from "../ports/federation-store.ts";
import type { Tables } from "./tables.ts";

export interface OpenLimits {
  /** Of a cohort. */
  readonly maxOpenUpdates: number;
  readonly maxOpenBytes: number;
  /** In one cohort. */
  readonly maxOpenUpdatesOfAGateway: number;
}

export interface OpenOfGateway {
  readonly cohort: string;
  readonly gatewayId: string;
  readonly updates: number;
  readonly bytes: number;
}

export async function readOpenUpdates(db: Kysely<Tables>): Promise<OpenOfGateway[]> {
  return db
    .selectFrom("local_models")
    .where("status", "in", ["accepted", "clipped"])
    .groupBy(["cohort", "gateway_id"])
    .select(["cohort", "gateway_id as gatewayId"])
    .select(({ fn }) => fn.countAll<number>().as("updates"))
    .select(sql<number>`coalesce(sum(octet_length(delta)), 0)::float8`.as("bytes"))
    .execute();
}

interface Count {
  updates: number;
  bytes: number;
  readonly gateways: Map<string, number>;
}

/**
 * What was last read of the database, and what this coordinator stored since. What others stored is seen at the next
 * reading: for so long the limits may be overrun.
 */
export class OpenUpdates {
  readonly #limits: OpenLimits;
  readonly #read: () => Promise<readonly OpenOfGateway[]>;
  #cohorts = new Map<string, Count>();
  /** Stored while a reading is under way, which may or may not have seen them; null: none is. */
  #meanwhile: OpenOfGateway[] | null = null;

  constructor(limits: OpenLimits, read: () => Promise<readonly OpenOfGateway[]>) {
    this.#limits = limits;
    this.#read = read;
  }

  /** Which limit is reached for the update; null: none. */
  limitReached({ cohort, gatewayId }: NewUpdate): string | null {
    const count = this.#cohorts.get(cohort);
    if (count === undefined) return null;
    const { maxOpenUpdates, maxOpenBytes, maxOpenUpdatesOfAGateway } = this.#limits;
    if (count.updates >= maxOpenUpdates) return `${maxOpenUpdates} updates of the cohort wait for a round`;
    if (count.bytes >= maxOpenBytes) return `${maxOpenBytes} bytes of the cohort's updates wait for a round`;
    if ((count.gateways.get(gatewayId) ?? 0) >= maxOpenUpdatesOfAGateway)
      return `${maxOpenUpdatesOfAGateway} updates of the gateway wait for a round`;
    return null;
  }

  stored({ cohort, gatewayId, delta }: NewUpdate): void {
    const one = { cohort, gatewayId, updates: 1, bytes: delta.byteLength };
    this.#meanwhile?.push(one);
    add(this.#cohorts, one);
  }

  /** One reading at a time; rejects as the reading does, and then what was known stands. */
  async refresh(): Promise<void> {
    if (this.#meanwhile !== null) return;
    this.#meanwhile = [];
    try {
      const read = await this.#read();
      const stored = this.#meanwhile;
      this.#cohorts = new Map();
      for (const each of [...read, ...stored]) add(this.#cohorts, each);
    } finally {
      this.#meanwhile = null;
    }
  }
}

function add(cohorts: Map<string, Count>, { cohort, gatewayId, updates, bytes }: OpenOfGateway): void {
  const count = cohorts.get(cohort) ?? { updates: 0, bytes: 0, gateways: new Map<string, number>() };
  count.updates += updates;
  count.bytes += bytes;
  count.gateways.set(gatewayId, (count.gateways.get(gatewayId) ?? 0) + updates);
  cohorts.set(cohort, count);
}
