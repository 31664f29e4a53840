// Training steps in plain TypeScript, written by hand from the formulas and without the graph code: what the ONNX graphs
// are checked against, and their rival in the benchmark (hence float64, no allocation, four products at a time).

type Vector = Float64Array;
const read = (v: Vector, at: number) => v[at] as number;

/** C[n,q] += A[n,p] · B[p,q] */
function addProduct(a: Vector, b: Vector, c: Vector, n: number, p: number, q: number): void {
  for (let row = 0; row < n; row++) addRows(a, row * p, 1, b, p, c, row * q, q);
}

/** C[p,q] += A[n,p]ᵀ · B[n,q] */
function addTransposedProduct(a: Vector, b: Vector, c: Vector, n: number, p: number, q: number): void {
  for (let i = 0; i < p; i++) addRows(a, i, p, b, n, c, i * q, q);
}

/** c[into + j] += Σ over the `count` rows k of B, each `width` wide, of a[from + k·stride] · B[k][j]; four rows at a time. */
function addRows(
  a: Vector,
  from: number,
  stride: number,
  b: Vector,
  count: number,
  c: Vector,
  into: number,
  width: number,
): void {
  let k = 0;
  for (; k + 4 <= count; k += 4) {
    const at = from + k * stride;
    const a0 = read(a, at);
    const a1 = read(a, at + stride);
    const a2 = read(a, at + 2 * stride);
    const a3 = read(a, at + 3 * stride);
    const b0 = k * width;
    const b1 = b0 + width;
    const b2 = b1 + width;
    const b3 = b2 + width;
    for (let j = 0; j < width; j++) {
      const sum = a0 * read(b, b0 + j) + a1 * read(b, b1 + j) + a2 * read(b, b2 + j) + a3 * read(b, b3 + j);
      c[into + j] = read(c, into + j) + sum;
    }
  }
  for (; k < count; k++) {
    const value = read(a, from + k * stride);
    for (let j = 0; j < width; j++) c[into + j] = read(c, into + j) + value * read(b, k * width + j);
  }
}

/** C[n,p] = A[n,q] · B[p,q]ᵀ, four columns at a time. */
function productWithTransposed(a: Vector, b: Vector, c: Vector, n: number, q: number, p: number): void {
  for (let row = 0; row < n; row++) {
    const from = row * q;
    let k = 0;
    for (; k + 4 <= p; k += 4) {
      const b0 = k * q;
      const b1 = b0 + q;
      const b2 = b1 + q;
      const b3 = b2 + q;
      let s0 = 0;
      let s1 = 0;
      let s2 = 0;
      let s3 = 0;
      for (let i = 0; i < q; i++) {
        const value = read(a, from + i);
        s0 += value * read(b, b0 + i);
        s1 += value * read(b, b1 + i);
        s2 += value * read(b, b2 + i);
        s3 += value * read(b, b3 + i);
      }
      const into = row * p + k;
      c[into] = s0;
      c[into + 1] = s1;
      c[into + 2] = s2;
      c[into + 3] = s3;
    }
    for (; k < p; k++) {
      let sum = 0;
      for (let i = 0; i < q; i++) sum += read(a, from + i) * read(b, k * q + i);
      c[row * p + k] = sum;
    }
  }
}

interface Layer {
  readonly inputs: number;
  readonly outputs: number;
  readonly weight: Vector;
  readonly bias: Vector;
  /** What the layer computed, [rows, outputs], and the step along it: −lr/rows times the gradient of the summed loss. */
  readonly out: Vector;
  readonly step: Vector;
}

/** Dense layers with tanh between them, trained on half the squared error, summed over columns and averaged over rows. */
export class PlainDense {
  readonly #layers: readonly Layer[];
  readonly #rows: number;

  /** `flat`: weight [in,out] and bias [out] of every layer in turn. */
  constructor(widths: readonly number[], flat: ArrayLike<number>, rows: number) {
    const all = Float64Array.from(flat);
    let at = 0;
    const take = (length: number) => {
      at += length;
      return all.slice(at - length, at);
    };
    this.#rows = rows;
    this.#layers = widths.slice(1).map((outputs, index) => {
      const inputs = widths[index] as number;
      const [out, step] = [new Float64Array(rows * outputs), new Float64Array(rows * outputs)];
      return { inputs, outputs, weight: take(inputs * outputs), bias: take(outputs), out, step };
    });
  }

  get weights(): number[] {
    return this.#layers.flatMap(({ weight, bias }) => [...weight, ...bias]);
  }

  /** One step of gradient descent; returns the loss before it. */
  train(x: Vector, target: Vector, learningRate: number): number {
    this.#forward(x);
    const loss = this.#lossAndStep(target, learningRate);
    for (let index = this.#layers.length - 1; index >= 0; index--) {
      const layer = this.#layers[index] as Layer;
      const before = this.#layers[index - 1];
      if (before) this.#backward(layer, before);
      addTransposedProduct(before?.out ?? x, layer.step, layer.weight, this.#rows, layer.inputs, layer.outputs);
      for (let row = 0; row < this.#rows; row++) {
        const from = row * layer.outputs;
        for (let j = 0; j < layer.outputs; j++) layer.bias[j] = read(layer.bias, j) + read(layer.step, from + j);
      }
    }
    return loss;
  }

  #forward(x: Vector): void {
    let input = x;
    for (const [index, { inputs, outputs, weight, bias, out }] of this.#layers.entries()) {
      for (let row = 0; row < this.#rows; row++) out.set(bias, row * outputs);
      addProduct(input, weight, out, this.#rows, inputs, outputs);
      if (index < this.#layers.length - 1) for (let i = 0; i < out.length; i++) out[i] = Math.tanh(read(out, i));
      input = out;
    }
  }

  #lossAndStep(target: Vector, learningRate: number): number {
    const { out, step } = this.#layers.at(-1) as Layer;
    const scale = learningRate / this.#rows;
    let sum = 0;
    for (let i = 0; i < out.length; i++) {
      const error = read(out, i) - read(target, i);
      sum += error * error;
      step[i] = -scale * error;
    }
    return sum / 2 / this.#rows;
  }

  /** The step through the layer's weights (before they change) and the tanh below them. */
  #backward({ weight, step, inputs, outputs }: Layer, before: Layer): void {
    productWithTransposed(step, weight, before.step, this.#rows, outputs, inputs);
    for (let i = 0; i < before.step.length; i++) {
      const activation = read(before.out, i);
      before.step[i] = read(before.step, i) * (1 - activation * activation);
    }
  }
}

/** Mean cross-entropy of a logistic classifier and its weights [F] and bias after one step of gradient descent. */
export function plainLogisticStep(weights: readonly number[], x: Vector, y: Vector, learningRate: number) {
  const features = weights.length - 1;
  const next = [...weights];
  let loss = 0;
  for (let row = 0; row < y.length; row++) {
    const inputs = [...x.subarray(row * features, (row + 1) * features), 1];
    const z = inputs.reduce((sum, input, at) => sum + input * (weights[at] as number), 0);
    const probability = 1 / (1 + Math.exp(-z));
    loss -= (read(y, row) === 1 ? Math.log(probability) : Math.log(1 - probability)) / y.length;
    const step = (learningRate * (probability - read(y, row))) / y.length;
    inputs.forEach((input, at) => {
      next[at] = (next[at] as number) - step * input;
    });
  }
  return { loss, weights: next };
}
