// Which devices gateways serve: what they learn from must not be what they are measured on.
import type { CohortId } from "../../learning/ids.ts";

export interface ServedStream {
  readonly cohort: string;
  /** Named as a frozen or a live stream is. */
  readonly device: string;
  readonly gatewayId: string;
}

export interface ServedDevices {
  /** Streams that a gateway serves a device of and that were not told of yet; with an audit row each, so once for ever. */
  newlyServed(): Promise<ServedStream[]>;
  /** Whether any gateway said that it serves the device in this cohort. */
  isServed(cohort: CohortId, device: string): Promise<boolean>;
}
