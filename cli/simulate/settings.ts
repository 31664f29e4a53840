// What a simulated fleet is told, and what its workers and their parent say to each other.
import type { HostAndPort } from "../../runtime/config.ts";
import type { Reading } from "./meter.ts";

export interface SimulationSettings {
  /** Each gateway begins at one of them, by chance, and goes on to the next after each session, as agents do. */
  readonly coordinators: readonly HostAndPort[];
  readonly cohort: string;
  readonly gateways: number;
  /** Number of the first gateway: fleets that run at the same time need numbers of their own. */
  readonly firstGateway: number;
  readonly processes: number;
  /** Unanswered updates a gateway, at most. */
  readonly inFlight: number;
  /** 0: a gateway reports only when it is asked. */
  readonly reportEveryMs: number;
  readonly seed: number;
}

/** `max`: every gateway always has as many updates on their way as it may. Otherwise updates a second of the whole fleet. */
export type Load = "max" | { readonly updatesPerSecond: number };

export const NO_LOAD: Load = { updatesPerSecond: 0 };

/** One worker's share: every `processes`-th gateway, beginning with the `worker`-th. */
export interface WorkerSettings extends SimulationSettings {
  readonly worker: number;
}

export type Order =
  | { readonly do: "start"; readonly settings: WorkerSettings }
  | { readonly do: "load"; readonly load: Load }
  /** The next `updates` gateways in turn send one update each. */
  | { readonly do: "burst"; readonly updates: number }
  /** Answered with what happened since the last one. */
  | { readonly do: "read" };

export interface Request {
  readonly id: number;
  readonly order: Order;
}

export interface Answer {
  readonly id: number;
  readonly reading: Reading | null;
  /** Why the order could not be carried out; null: it was. */
  readonly failed: string | null;
}
