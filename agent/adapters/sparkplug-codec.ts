// Sparkplug B payloads as Protocol Buffers.
import { type Metric, Payload } from "../../proto/gen/sparkplug/sparkplug.ts";
import type { RawValue, SparkplugCodec, SparkplugMetric } from "../core/mapping/sparkplug.ts";

const BOOLEAN = 11;

export const sparkplugCodec: SparkplugCodec = {
  decode(bytes) {
    try {
      const { timestamp, seq, metrics } = Payload.decode(bytes);
      return { atMs: numberOrNull(timestamp), seq: numberOrNull(seq), metrics: metrics.map(metricOf) };
    } catch {
      return null;
    }
  },

  rebirth(atMs) {
    const timestamp = BigInt(Math.round(atMs));
    const value = { $case: "booleanValue" as const, value: true };
    return Payload.encode({
      timestamp,
      metrics: [{ name: "Node Control/Rebirth", timestamp, datatype: BOOLEAN, value }],
    }).finish();
  },
};

const metricOf = ({ name, alias, datatype, isHistorical, isNull, value }: Metric): SparkplugMetric => ({
  name: name ?? null,
  alias: alias ?? null,
  datatype: datatype ?? null,
  historical: isHistorical ?? false,
  value: isNull === true ? null : ((value?.value ?? null) satisfies RawValue),
});

const numberOrNull = (given: bigint | undefined) => (given === undefined ? null : Number(given));
