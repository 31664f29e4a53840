// Where labelled rows of reference gateways come from.
import type { SensorMessage } from "../../learning/telemetry/message.ts";

export interface LiveBroker {
  /** Hears these topics and no others from now on, again after each reconnect. */
  follow(topics: ReadonlySet<string>): void;
  close(): Promise<void>;
}

export interface LiveBrokerHandlers {
  onMessage(message: SensorMessage): void;
  onProblem(what: string): void;
}
