// Which gateways were heard of, told to the database together: a heartbeat costs it nothing.
import type { GatewayId } from "../../../learning/ids.ts";
import type { GatewayStore } from "../../ports/gateway-store.ts";

/** Those that were heard of since they were last told; nobody who left is told of as present. */
export class Presence {
  readonly #store: Pick<GatewayStore, "seen">;
  readonly #heard = new Set<GatewayId>();

  constructor(store: Pick<GatewayStore, "seen">) {
    this.#store = store;
  }

  heard(gateway: GatewayId): void {
    this.#heard.add(gateway);
  }

  left(gateway: GatewayId): void {
    this.#heard.delete(gateway);
  }

  /** To be called every few seconds. Rejects as the store does; the next heartbeats make up for it. */
  async tell(): Promise<void> {
    const gateways = [...this.#heard];
    this.#heard.clear();
    if (gateways.length > 0) await this.#store.seen(gateways);
  }
}
