// The training step as one writes it first: three nested loops a product, float64, nothing blocked or unrolled.

interface Layer {
  readonly inputs: number;
  readonly outputs: number;
  /** [inputs, outputs] */
  readonly weight: Float64Array;
  readonly bias: Float64Array;
}

/** Dense layers with tanh between them, trained on half the squared error, summed over columns and averaged over rows. */
export class LoopDense {
  readonly #layers: readonly Layer[];

  /** `flat`: weight and bias of every layer in turn. */
  constructor(widths: readonly number[], flat: ArrayLike<number>) {
    const all = Float64Array.from(flat);
    let at = 0;
    const take = (length: number) => {
      at += length;
      return all.slice(at - length, at);
    };
    this.#layers = widths.slice(1).map((outputs, index) => {
      const inputs = widths[index] as number;
      return { inputs, outputs, weight: take(inputs * outputs), bias: take(outputs) };
    });
  }

  /** One step of gradient descent of an autoencoder on `x` [rows, width]; returns the loss before it. */
  train(x: Float64Array, rows: number, learningRate: number): number {
    const values = [x];
    for (const [index, layer] of this.#layers.entries()) {
      const activate = index < this.#layers.length - 1 ? Math.tanh : (sum: number) => sum;
      values.push(forward(layer, values[index] as Float64Array, rows, activate));
    }
    let loss = 0;
    let gradient = (values.at(-1) as Float64Array).map((out, i) => {
      const error = out - (x[i] as number);
      loss += (error * error) / 2 / rows;
      return error / rows;
    });
    for (let index = this.#layers.length - 1; index >= 0; index--) {
      const layer = this.#layers[index] as Layer;
      const input = values[index] as Float64Array;
      const below = index > 0 ? backward(layer, gradient, input, rows) : gradient;
      descend(layer, gradient, input, rows, learningRate);
      gradient = below;
    }
    return loss;
  }
}

function forward(layer: Layer, input: Float64Array, rows: number, activate: (sum: number) => number): Float64Array {
  const { inputs, outputs, weight, bias } = layer;
  const out = new Float64Array(rows * outputs);
  for (let row = 0; row < rows; row++) {
    for (let j = 0; j < outputs; j++) {
      let sum = bias[j] as number;
      for (let i = 0; i < inputs; i++) sum += (input[row * inputs + i] as number) * (weight[i * outputs + j] as number);
      out[row * outputs + j] = activate(sum);
    }
  }
  return out;
}

/** The gradient by the layer's input, through the tanh that made it. */
function backward({ inputs, outputs, weight }: Layer, gradient: Float64Array, input: Float64Array, rows: number) {
  const below = new Float64Array(rows * inputs);
  for (let row = 0; row < rows; row++) {
    for (let i = 0; i < inputs; i++) {
      let sum = 0;
      for (let j = 0; j < outputs; j++)
        sum += (gradient[row * outputs + j] as number) * (weight[i * outputs + j] as number);
      const activation = input[row * inputs + i] as number;
      below[row * inputs + i] = sum * (1 - activation * activation);
    }
  }
  return below;
}

function descend(layer: Layer, gradient: Float64Array, input: Float64Array, rows: number, learningRate: number): void {
  const { inputs, outputs, weight, bias } = layer;
  for (let j = 0; j < outputs; j++) {
    let sum = 0;
    for (let row = 0; row < rows; row++) sum += gradient[row * outputs + j] as number;
    bias[j] = (bias[j] as number) - learningRate * sum;
    for (let i = 0; i < inputs; i++) {
      let product = 0;
      for (let row = 0; row < rows; row++)
        product += (input[row * inputs + i] as number) * (gradient[row * outputs + j] as number);
      weight[i * outputs + j] = (weight[i * outputs + j] as number) - learningRate * product;
    }
  }
}
