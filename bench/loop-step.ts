// The training step as one writes it first: three nested loops a product, float64, nothing blocked or unrolled.

interface Layer {
  readonly inputs: number;
  readonly outputs: number;
  /** [inputs, outputs] */
  readonly weight: Float64Array;
  readonly bias: Float64Array;
  readonly weightVelocity: Float64Array;
  readonly biasVelocity: Float64Array;
}

export interface LoopOptimiser {
  readonly momentum: number;
  /** Largest 2-norm of a step's gradient; null: no bound. */
  readonly clip: number | null;
}

/** Dense layers with tanh between them, trained on half the squared error, summed over columns and averaged over rows. */
export class LoopDense {
  readonly #layers: readonly Layer[];
  readonly #optimiser: LoopOptimiser;

  /** `flat`: weight and bias of every layer in turn. */
  constructor(widths: readonly number[], flat: ArrayLike<number>, optimiser: LoopOptimiser) {
    this.#optimiser = optimiser;
    const all = Float64Array.from(flat);
    let at = 0;
    const take = (length: number) => {
      at += length;
      return all.slice(at - length, at);
    };
    this.#layers = widths.slice(1).map((outputs, index) => {
      const inputs = widths[index] as number;
      const [weight, bias] = [take(inputs * outputs), take(outputs)];
      const [weightVelocity, biasVelocity] = [new Float64Array(weight.length), new Float64Array(bias.length)];
      return { inputs, outputs, weight, bias, weightVelocity, biasVelocity };
    });
  }

  /** For each row of `x` the root of the mean of its `largest` largest squared errors. */
  score(x: Float64Array, rows: number, largest: number): Float64Array {
    const out = this.#forward(x, rows).at(-1) as Float64Array;
    const width = x.length / rows;
    return Float64Array.from({ length: rows }, (_, row) => {
      const squares = new Float64Array(width);
      for (let i = 0; i < width; i++)
        squares[i] = ((out[row * width + i] as number) - (x[row * width + i] as number)) ** 2;
      squares.sort();
      let sum = 0;
      for (let i = width - largest; i < width; i++) sum += squares[i] as number;
      return Math.sqrt(sum / largest);
    });
  }

  /** One step of an autoencoder on `x` [rows, width]; returns the loss before it. */
  train(x: Float64Array, rows: number, learningRate: number): number {
    const values = this.#forward(x, rows);
    let loss = 0;
    let gradient = (values.at(-1) as Float64Array).map((out, i) => {
      const error = out - (x[i] as number);
      loss += (error * error) / 2 / rows;
      return error / rows;
    });
    const slopes: (Slopes & { readonly layer: Layer })[] = [];
    for (let index = this.#layers.length - 1; index >= 0; index--) {
      const layer = this.#layers[index] as Layer;
      const input = values[index] as Float64Array;
      slopes.push({ layer, ...slopesOf(layer, gradient, input, rows) });
      if (index > 0) gradient = backward(layer, gradient, input, rows);
    }
    const factor = clipFactor(slopes, this.#optimiser.clip);
    for (const { layer, weight, bias } of slopes) {
      this.#move(layer.weight, layer.weightVelocity, weight, factor, learningRate);
      this.#move(layer.bias, layer.biasVelocity, bias, factor, learningRate);
    }
    return loss;
  }

  /** `x` and what each layer makes of the one before it. */
  #forward(x: Float64Array, rows: number): Float64Array[] {
    const values = [x];
    for (const [index, layer] of this.#layers.entries()) {
      const activate = index < this.#layers.length - 1 ? Math.tanh : (sum: number) => sum;
      values.push(forward(layer, values[index] as Float64Array, rows, activate));
    }
    return values;
  }

  #move(
    values: Float64Array,
    velocity: Float64Array,
    slopes: Float64Array,
    factor: number,
    learningRate: number,
  ): void {
    for (let i = 0; i < values.length; i++) {
      const next = this.#optimiser.momentum * (velocity[i] as number) + factor * (slopes[i] as number);
      velocity[i] = next;
      values[i] = (values[i] as number) - learningRate * next;
    }
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

interface Slopes {
  readonly weight: Float64Array;
  readonly bias: Float64Array;
}

function slopesOf({ inputs, outputs }: Layer, gradient: Float64Array, input: Float64Array, rows: number): Slopes {
  const [weight, bias] = [new Float64Array(inputs * outputs), new Float64Array(outputs)];
  for (let j = 0; j < outputs; j++) {
    let sum = 0;
    for (let row = 0; row < rows; row++) sum += gradient[row * outputs + j] as number;
    bias[j] = sum;
    for (let i = 0; i < inputs; i++) {
      let product = 0;
      for (let row = 0; row < rows; row++)
        product += (input[row * inputs + i] as number) * (gradient[row * outputs + j] as number);
      weight[i * outputs + j] = product;
    }
  }
  return { weight, bias };
}

function clipFactor(slopes: readonly Slopes[], clip: number | null): number {
  if (clip === null) return 1;
  let squares = 0;
  for (const { weight, bias } of slopes) {
    for (const slope of weight) squares += slope * slope;
    for (const slope of bias) squares += slope * slope;
  }
  return clip / Math.max(Math.sqrt(squares), clip);
}
