// Sparkplug B messages as edge nodes send them.
import { type Metric, Payload } from "../../proto/gen/sparkplug/sparkplug.ts";

/** Codes of the specification. */
export const TYPES = {
  Int8: 1,
  Int16: 2,
  Int32: 3,
  Int64: 4,
  UInt64: 8,
  Float: 9,
  Double: 10,
  Boolean: 11,
  String: 12,
  DateTime: 13,
};

type Value = NonNullable<Metric["value"]>;

export const metric = (fields: Partial<Metric>, value?: Value): Metric => ({ ...fields, value });
export const int = (value: number): Value => ({ $case: "intValue", value });
export const long = (value: bigint): Value => ({ $case: "longValue", value });
export const double = (value: number): Value => ({ $case: "doubleValue", value });
export const boolean = (value: boolean): Value => ({ $case: "booleanValue", value });
export const string = (value: string): Value => ({ $case: "stringValue", value });

export const payload = (metrics: readonly Metric[], seq?: number, timestamp = 1_795_255_198_000): Uint8Array =>
  Payload.encode({
    timestamp: BigInt(timestamp),
    metrics: [...metrics],
    seq: seq === undefined ? undefined : BigInt(seq),
  }).finish();

const bdSeq = (session: number) => metric({ name: "bdSeq", datatype: TYPES.Int64 }, long(BigInt(session)));

/** An edge node with a supply voltage, which is metric 1. */
export const nodeBirth = (session = 0) =>
  payload(
    [
      bdSeq(session),
      metric({ name: "Node Control/Rebirth", datatype: TYPES.Boolean }, boolean(false)),
      metric({ name: "Supply", alias: 1n, datatype: TYPES.Double }, double(24.1)),
    ],
    0,
  );

/** A pump with pressure, temperature (signed) and a switch, which are metrics 2 to 4. */
export const pumpBirth = (seq: number) =>
  payload(
    [
      metric({ name: "Pressure", alias: 2n, datatype: TYPES.Double }, double(4.1)),
      metric({ name: "Inputs/Temp", alias: 3n, datatype: TYPES.Int16 }, int(0xffff_fffb)),
      metric({ name: "Running", alias: 4n, datatype: TYPES.Boolean }, boolean(true)),
      metric({ name: "Serial", alias: 5n, datatype: TYPES.String }, string("A-1")),
      metric({ name: "Since", alias: 6n, datatype: TYPES.DateTime }, long(1_795_255_000_000n)),
    ],
    seq,
  );

export const nodeDeath = (session = 0) => payload([bdSeq(session)]);
