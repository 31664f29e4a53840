// A chain of 1-D convolutions over a window's rows, tanh between them and a linear output; every row keeps its place.
import type { GraphBuilder } from "../graph/builder.ts";
import type { Value } from "../graph/graph.ts";
import type { WeightTensor } from "../plan.ts";
import { layOut } from "./weight-layout.ts";

export interface Convolutions {
  /** Of the window. */
  readonly rows: number;
  /** Rows that a filter sees, the row in their middle: the later middle one where `kernel` is even. */
  readonly kernel: number;
  /** Channels before, between and after the layers. */
  readonly widths: readonly number[];
}

/** Weight [kernel × channels, filters], oldest row first, and bias of every layer. */
export function convWeights({ kernel, widths }: Convolutions): WeightTensor[] {
  return layOut(
    widths.slice(1).flatMap((width, at) => [
      { name: `conv${at + 1}.weight`, shape: [kernel * (widths[at] as number), width] },
      { name: `conv${at + 1}.bias`, shape: [width] },
    ]),
  );
}

/** From `x` [N, rows × channels], oldest row first, channel fastest, to the same of the last width; zeros around it. */
export function conv(b: GraphBuilder, x: Value, weights: readonly Value[], { rows, kernel, widths }: Convolutions) {
  let layer = x;
  for (let at = 0; at + 1 < widths.length; at++) {
    const [channels, filters] = widths.slice(at, at + 2) as [number, number];
    const patches = patchesOf(b, layer, { rows, kernel, channels });
    const linear = b.gemm(patches, weights[2 * at] as Value, { c: weights[2 * at + 1] as Value });
    const last = at + 2 === widths.length;
    layer = b.reshape(last ? linear : b.tanh(linear), ["N", rows * filters]);
  }
  return layer;
}

/** For every row of every window what a filter sees there: [N × rows, kernel × channels]. */
function patchesOf(
  b: GraphBuilder,
  x: Value,
  { rows, kernel, channels }: { readonly rows: number; readonly kernel: number; readonly channels: number },
): Value {
  const before = Math.floor(kernel / 2);
  const padded = b.pad(x, 1, before * channels, (kernel - 1 - before) * channels);
  const taps = Array.from({ length: kernel }, (_, tap) =>
    b.reshape(b.slice(padded, 1, tap * channels, (tap + rows) * channels), [`N*${rows}`, channels]),
  );
  return b.concat(taps, 1);
}
