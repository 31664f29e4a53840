// Sparkplug B (specification 3.0): what edge nodes and their devices are, by births, data by alias, and deaths.
import { type Refusal, refusal } from "../../../learning/telemetry/refusal.ts";

export type RawValue = number | bigint | boolean | string | null;

export interface SparkplugMetric {
  readonly name: string | null;
  readonly alias: bigint | null;
  readonly datatype: number | null;
  readonly historical: boolean;
  /** Null: it is said to have none, or is of a type that is not read. */
  readonly value: RawValue;
}

export interface SparkplugPayload {
  readonly atMs: number | null;
  readonly seq: number | null;
  readonly metrics: readonly SparkplugMetric[];
}

/** Payloads as bytes. */
export interface SparkplugCodec {
  /** Null: the bytes are none. */
  decode(bytes: Uint8Array): SparkplugPayload | null;
  /** The command by which an edge node tells all its births again. */
  rebirth(atMs: number): Uint8Array;
}

const DATA_TYPES = ["NBIRTH", "DBIRTH", "NDATA", "DDATA", "NDEATH", "DDEATH"] as const;

/** What a Sparkplug topic says: `spBv1.0/group/type/node` and, of a device, `/device`. */
export interface SparkplugTopic {
  readonly namespace: string;
  readonly group: string;
  readonly type: (typeof DATA_TYPES)[number];
  readonly node: string;
  /** Null: the edge node itself. */
  readonly device: string | null;
}

/** A device, or an edge node as one. */
export type Source = Pick<SparkplugTopic, "group" | "node" | "device">;

export interface SparkplugStep {
  /** All that the source is known to be now; null: nothing to make a row of. */
  readonly state: Readonly<Record<string, number | boolean | string>> | null;
  readonly refusals: readonly Refusal[];
  readonly gone: readonly Source[];
  readonly born: boolean;
  /** The edge node should tell its births again. */
  readonly wantsBirth: boolean;
}

interface Aliased {
  readonly name: string;
  readonly source: string;
}

interface EdgeNode {
  readonly bornBy: RawValue;
  seq: number | null;
  readonly byAlias: Map<bigint, Aliased>;
  /** Of each device, null for the node itself: its metrics by name. */
  readonly sources: Map<
    string | null,
    Map<string, { readonly datatype: number; value: number | boolean | string | null }>
  >;
}

const MAX_NODES = 500;
const MAX_SOURCES = 2_000;
const MAX_METRICS = 100_000;
const MAX_NAME_CHARACTERS = 256;
const MAX_WORD_CHARACTERS = 64;
const SEQUENCE = 256;
/** An edge node is asked at most once in so long, and is not asked again by each of its messages. */
const ASK_AGAIN_MS = 60_000;
/** Metrics that are about the edge node and not measured. */
const CONTROL = /^(bdSeq$|Node Control\/|Device Control\/)/;
const DATE_TIME = 13;
/** Bits of the signed types, which come as their unsigned two's complement. */
const SIGNED_BITS: Readonly<Record<number, number>> = { 1: 8, 2: 16, 3: 32, 4: 64 };

export const sparkplugFilters = (namespace: string, group: string, node: string): string[] =>
  DATA_TYPES.map((type) => [namespace, group, type, node, ...(type.startsWith("D") ? ["+"] : [])].join("/"));

/** Null: a command, a host's state, or no Sparkplug topic. */
export function sparkplugTopic(topic: string): SparkplugTopic | null {
  const [namespace = "", group = "", type = "", node = "", device = null, ...rest] = topic.split("/");
  const known = DATA_TYPES.find((name) => name === type);
  const isDevice = type.startsWith("D");
  if (
    known === undefined ||
    rest.length > 0 ||
    isDevice !== (device !== null) ||
    group === "" ||
    node === "" ||
    device === ""
  )
    return null;
  return { namespace, group, type: known, node, device };
}

/** Bounded in edge nodes, devices and metrics, whoever claims to be one. */
export class SparkplugNodes {
  readonly #nodes = new Map<string, EdgeNode>();
  readonly #askedAtMs = new Map<string, number>();
  #sources = 0;
  #metrics = 0;

  step(topic: SparkplugTopic, payload: SparkplugPayload, nowMs: number): SparkplugStep {
    const { type, group, node: name, device } = topic;
    const key = `${group}/${name}`;
    if (type === "NDEATH") return this.#nodeDies(key, topic, payload);
    if (type === "NBIRTH") return this.#nodeIsBorn(key, topic, payload);
    const node = this.#nodes.get(key);
    if (node === undefined) return this.#unknown(key, `no birth of edge node ${key} was heard`, nowMs);
    const gap = inSequence(node, payload.seq) ? [] : [sequenceGap(key)];
    const wantsBirth = gap.length > 0 && this.#mayAsk(key, nowMs);
    if (type === "DDEATH") {
      this.#forget(node, device);
      return { ...NO_STEP, refusals: gap, gone: [topic], wantsBirth };
    }
    if (type === "DBIRTH") {
      const step = this.#birth(node, topic, payload);
      return { ...step, refusals: [...gap, ...step.refusals], wantsBirth };
    }
    const step = this.#data(key, node, topic, payload, nowMs);
    return { ...step, refusals: [...gap, ...step.refusals], wantsBirth: wantsBirth || step.wantsBirth };
  }

  #nodeIsBorn(key: string, topic: SparkplugTopic, payload: SparkplugPayload): SparkplugStep {
    this.#forgetNode(key);
    if (this.#nodes.size >= MAX_NODES)
      return refusedStep("device_limit", `at most ${MAX_NODES} edge nodes are followed`);
    const node: EdgeNode = { bornBy: sessionOf(payload), seq: payload.seq, byAlias: new Map(), sources: new Map() };
    this.#nodes.set(key, node);
    this.#askedAtMs.delete(key);
    return this.#birth(node, topic, payload);
  }

  /** A death of an earlier session, which comes late, is none of this one. */
  #nodeDies(key: string, { group, node: name }: SparkplugTopic, payload: SparkplugPayload): SparkplugStep {
    const node = this.#nodes.get(key);
    const session = sessionOf(payload);
    if (node === undefined || (session !== null && node.bornBy !== null && session !== node.bornBy)) return NO_STEP;
    const gone = [...node.sources.keys()].map((device) => ({ group, node: name, device }));
    this.#forgetNode(key);
    return { ...NO_STEP, gone };
  }

  #birth(node: EdgeNode, { device }: SparkplugTopic, { metrics }: SparkplugPayload): SparkplugStep {
    this.#forget(node, device);
    const measured = metrics.filter(
      ({ name }) => name !== null && name.length <= MAX_NAME_CHARACTERS && !CONTROL.test(name),
    );
    if (this.#sources >= MAX_SOURCES || this.#metrics + measured.length > MAX_METRICS)
      return refusedStep("device_limit", `at most ${MAX_SOURCES} devices with ${MAX_METRICS} metrics are followed`);
    const known: NonNullable<ReturnType<EdgeNode["sources"]["get"]>> = new Map();
    for (const { name, alias, datatype, value } of measured) {
      if (name === null || known.has(name)) continue; // a name counts once, and so does its alias
      const type = datatype ?? 0;
      known.set(name, { datatype: type, value: valueOfType(value, type) });
      if (alias !== null) node.byAlias.set(alias, { name, source: sourceKey(device) });
    }
    node.sources.set(device, known);
    this.#sources++;
    this.#metrics += known.size;
    return { ...NO_STEP, state: stateOf(known), born: true };
  }

  #data(
    key: string,
    node: EdgeNode,
    { device }: SparkplugTopic,
    payload: SparkplugPayload,
    nowMs: number,
  ): SparkplugStep {
    const known = node.sources.get(device);
    if (known === undefined)
      return this.#unknown(key, `no birth of ${device ?? "the edge node"} of ${key} was heard`, nowMs);
    let current = false;
    let unknown = 0;
    for (const { name, alias, historical, value } of payload.metrics) {
      const metric = name ?? this.#nameOf(node, alias, device);
      const slot = metric === null ? undefined : known.get(metric);
      if (historical || (metric !== null && CONTROL.test(metric))) continue;
      if (slot === undefined) unknown++;
      else {
        slot.value = valueOfType(value, slot.datatype);
        current = true;
      }
    }
    const what = `${unknown} metrics are under names or aliases that no birth of ${key} has`;
    const strange = unknown === 0 ? NO_STEP : this.#unknown(key, what, nowMs);
    if (current) return { ...strange, state: stateOf(known) };
    return unknown > 0 ? strange : refusedStep("out_of_order", "no metric of now: what is historical is not used");
  }

  #nameOf(node: EdgeNode, alias: bigint | null, device: string | null): string | null {
    const metric = alias === null ? undefined : node.byAlias.get(alias);
    return metric?.source === sourceKey(device) ? metric.name : null;
  }

  #unknown(key: string, detail: string, nowMs: number): SparkplugStep {
    return {
      ...refusedStep("no_birth", `${detail}; it is asked to tell its births again`),
      wantsBirth: this.#mayAsk(key, nowMs),
    };
  }

  #mayAsk(key: string, nowMs: number): boolean {
    const askedAtMs = this.#askedAtMs.get(key);
    if (askedAtMs !== undefined && nowMs - askedAtMs < ASK_AGAIN_MS && nowMs >= askedAtMs) return false;
    if (askedAtMs === undefined && this.#askedAtMs.size >= MAX_NODES) {
      for (const [other, atMs] of this.#askedAtMs) if (nowMs - atMs >= ASK_AGAIN_MS) this.#askedAtMs.delete(other);
      if (this.#askedAtMs.size >= MAX_NODES) return false;
    }
    this.#askedAtMs.set(key, nowMs);
    return true;
  }

  #forgetNode(key: string): void {
    const node = this.#nodes.get(key);
    if (node === undefined) return;
    for (const device of [...node.sources.keys()]) this.#forget(node, device);
    this.#nodes.delete(key);
  }

  #forget(node: EdgeNode, device: string | null): void {
    const known = node.sources.get(device);
    if (known === undefined) return;
    node.sources.delete(device);
    for (const [alias, { source }] of node.byAlias) if (source === sourceKey(device)) node.byAlias.delete(alias);
    this.#sources--;
    this.#metrics -= known.size;
  }
}

const NO_STEP: SparkplugStep = { state: null, refusals: [], gone: [], born: false, wantsBirth: false };

const refusedStep = (kind: Refusal["refused"], detail: string): SparkplugStep => ({
  ...NO_STEP,
  refusals: [refusal(kind, detail)],
});

const sequenceGap = (key: string) =>
  refusal("sequence_gap", `messages of edge node ${key} are missing before this one`);

/** The edge node itself can't be mixed up with a device: no device has an empty name. */
const sourceKey = (device: string | null) => device ?? "";

/** Takes the message's number as the last one. */
function inSequence(node: EdgeNode, seq: number | null): boolean {
  const expected = node.seq === null ? seq : (node.seq + 1) % SEQUENCE;
  if (seq !== null) node.seq = seq;
  return seq === null || seq === expected;
}

const sessionOf = ({ metrics }: SparkplugPayload): RawValue =>
  metrics.find(({ name }) => name === "bdSeq")?.value ?? null;

function valueOfType(value: RawValue, datatype: number): number | boolean | string | null {
  if (value === null || datatype === DATE_TIME) return null;
  if (typeof value === "string") return value.length <= MAX_WORD_CHARACTERS ? value : null;
  if (typeof value === "boolean") return value;
  const bits = SIGNED_BITS[datatype];
  if (bits === undefined) return Number(value);
  return Number.isInteger(Number(value)) ? Number(BigInt.asIntN(bits, BigInt(value))) : Number(value);
}

function stateOf(known: ReadonlyMap<string, { readonly value: number | boolean | string | null }>) {
  return Object.fromEntries(
    [...known].flatMap(([name, { value }]) => (value === null ? [] : [[name, value] as const])),
  );
}
