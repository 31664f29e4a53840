// What the coordinators of one database tell each other. A notice may be lost: it only says where to look.
import type { GatewayCommand } from "../core/gateway-command.ts";

export type Notice =
  /** Its row changed: a round was recorded, an operator acted, another plan came. */
  | { readonly kind: "cohort"; readonly cohort: string }
  /** Updates of it were stored. */
  | { readonly kind: "updates"; readonly cohort: string }
  /** The gateway has a session with this replica now, and an older one elsewhere is over. */
  | { readonly kind: "session"; readonly gatewayId: string; readonly replicaId: string }
  /** For the gateway, wherever its session is. */
  | {
      readonly kind: "command";
      readonly gatewayId: string;
      readonly commandId: string;
      readonly command: GatewayCommand;
    };

export interface Notices {
  /**
   * What is heard, one after the other, until `signal` aborts. "resync" comes first, and again whenever notices may have
   * been missed. One listener.
   */
  heard(signal: AbortSignal): AsyncIterable<Notice | "resync">;
  /** Resolves when it was given to the database. */
  tell(notice: Notice): Promise<void>;
}
