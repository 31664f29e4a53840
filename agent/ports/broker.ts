// The site's MQTT broker, or several.
import type { OutgoingMessage } from "../core/alert.ts";
import type { SiteCommand } from "../core/mapping/outcome.ts";
import type { SiteMessage } from "../core/mapping/sensor-reader.ts";

export interface BrokerHandlers {
  /** Must not throw. */
  readonly onMessage: (message: SiteMessage) => void;
  /** Null: the next message may come at once; else it is to stay at its broker until this resolves, soon. Never rejects. */
  readonly whenCalm: () => Promise<void> | null;
  /** A connection to the broker of the alerts stands, at first or again. */
  readonly onConnect: () => void;
  /** The connection could not be had or was lost. */
  readonly onProblem: (broker: string, what: string) => void;
}

/** Connects by itself and again whenever the connection is lost; a broker that is away is not an error. */
export interface Broker {
  readonly connected: boolean;
  /** Resolves once the broker has the message, across reconnections; rejects when it will not be sent any more. */
  publish(message: OutgoingMessage): Promise<void>;
  /** Sent at once if its broker is connected, else not at all. */
  command(command: SiteCommand): void;
  /** Nothing is received after it was called. */
  stopReceiving(): void;
  close(): Promise<void>;
}
