// A simulated pump plant at one row a second: seeded, physically plausible, with labelled faults.
import type { Channel } from "../../learning/plan.ts";
import { type Random, seededRandom } from "../../learning/random.ts";
import { createFaultSchedule, type Fault } from "./plant-faults.ts";
import { METRES_PER_BAR, operatingPoint, type PumpDesign, ratedKw } from "./plant-hydraulics.ts";

export { FAULTS, type Fault, type FaultKind } from "./plant-faults.ts";

export const PLANT_CHANNELS: readonly Channel[] = [
  { name: "vibration_x", unit: "mm/s" },
  { name: "vibration_y", unit: "mm/s" },
  { name: "current", unit: "A" },
  { name: "pressure", unit: "bar" },
  { name: "suction_pressure", unit: "bar" },
  { name: "temperature", unit: "°C" },
  { name: "flow", unit: "m³/h" },
  { name: "speed", unit: "rpm" },
];

export interface PumpRow {
  readonly atMs: number;
  /** In the order of PLANT_CHANNELS. */
  readonly values: Float64Array;
  /** The label: set from the first to the last row of a fault. */
  readonly fault: Fault | null;
}

export interface Pump {
  next(): PumpRow;
}

export interface PumpSettings {
  readonly seed: number;
  readonly pumpIndex: number;
  readonly startMs: number;
  /** No fault starts in these first rows; Infinity: none ever does. */
  readonly firstFaultAfterRows: number;
  /** From one fault's start to the next, on average. */
  readonly faultEveryRows: number;
}

const ROW_MS = 1000;
const DAY_ROWS = 2400;
const WEAR_ROWS = 20_000;
const FULL_SPEED_RPM = 2950;
const SUPPLY_VOLTS = 400;
const MOTOR_EFFICIENCY = 0.9;
const POWER_FACTOR = 0.85;
const MAGNETISING_SHARE = 0.3;

/** What distinguishes one pump, and its sensors, from the next. */
interface Machine {
  readonly design: PumpDesign;
  readonly vibration: readonly [x: number, y: number];
  readonly ratedAmps: number;
  readonly ambient: number;
  readonly suction: number;
  readonly thermalRows: number;
  readonly dayPhase: number;
  /** Per channel: reading = gain × truth × e^(noise) + offset. */
  readonly gain: Float64Array;
  readonly offset: Float64Array;
}

/** What the machine does this second, before any sensor has looked. */
interface Duty {
  readonly speed: number;
  readonly resistance: number;
  readonly ambient: number;
  readonly suction: number;
  /** Slow variation of the vibration's level, around 1. */
  readonly roughness: number;
}

/** How a fault bears on the machine; all zero in health. */
interface Harm {
  readonly valve: number;
  readonly imbalance: number;
  readonly cavitation: number;
  readonly leak: number;
}

const NOISE_SHARE = Float64Array.of(0.04, 0.04, 0.01, 0.004, 0.012, 0.002, 0.008, 0.0008);
/** In the channels' units: what a sensor of the kind is typically off by. */
const OFFSET_SCALE = Float64Array.of(0.05, 0.05, 0.1, 0.02, 0.01, 0.5, 0.2, 1);

/** A first-order random walk that returns to 0, with standard deviation `sigma` and memory of about `rows`. */
function wander(random: Random, sigma: number, rows: number): () => number {
  const keep = Math.exp(-1 / rows);
  let value = sigma * random.normal();
  return () => {
    value = keep * value + sigma * Math.sqrt(1 - keep * keep) * random.normal();
    return value;
  };
}

function createMachine(random: Random): Machine {
  const between = (low: number, high: number) => low + (high - low) * random.next();
  const design = {
    bestFlow: between(30, 120),
    shutOffHead: between(40, 65),
    bestEfficiency: between(0.66, 0.78),
  };
  const vibration = between(1.1, 2.2);
  const watts = (1000 * ratedKw(design)) / MOTOR_EFFICIENCY;
  return {
    design,
    vibration: [vibration, vibration * between(0.65, 0.95)],
    ratedAmps: watts / (Math.sqrt(3) * SUPPLY_VOLTS * POWER_FACTOR),
    ambient: between(17, 27),
    suction: between(0.75, 1.15),
    thermalRows: between(60, 120),
    dayPhase: between(0, 2 * Math.PI),
    gain: NOISE_SHARE.map(() => 1 + 0.015 * random.normal()),
    offset: OFFSET_SCALE.map((scale) => scale * random.normal()),
  };
}

/** The drive follows a load that steps every minute or few within a slower day; demand, tank and weather wander along. */
function createDuty(machine: Machine, random: Random): (row: number) => Duty {
  const hunting = wander(random, 0.006, 8);
  const demand = wander(random, 0.02, 45);
  const tank = wander(random, 0.008, 120);
  const weather = wander(random, 0.3, 300);
  const roughness = wander(random, 0.05, 12);
  let target = 0.7 + 0.3 * random.next();
  let setpoint = target;
  let stepAtRow = 0;
  return (row) => {
    const day = Math.sin((2 * Math.PI * row) / DAY_ROWS + machine.dayPhase);
    if (row >= stepAtRow) {
      stepAtRow = row + 20 + Math.floor(70 * random.next());
      target = Math.max(0.66, Math.min(1, 0.83 + 0.03 * day + 0.36 * (random.next() - 0.5)));
    }
    setpoint += Math.max(-0.02, Math.min(0.02, target - setpoint));
    return {
      speed: setpoint + hunting(),
      resistance: Math.exp(demand() - 0.01 * day),
      ambient: machine.ambient + day + weather(),
      suction: machine.suction + 0.015 * Math.sin(0.7 * day + 1) + tank(),
      roughness: Math.exp(roughness()),
    };
  };
}

function harmOf(fault: Fault | null, depth: number): Harm {
  return {
    valve: fault?.kind === "valve_closing" ? depth : 0,
    imbalance: fault?.kind === "imbalance" ? depth : 0,
    cavitation: fault?.kind === "cavitation" ? depth : 0,
    leak: fault?.kind === "leak" ? depth : 0,
  };
}

/** The true value of every channel, in the order of PLANT_CHANNELS. */
type Truth = [
  vx: number,
  vy: number,
  amps: number,
  discharge: number,
  suction: number,
  celsius: number,
  flow: number,
  rpm: number,
];

/** `chaos`: the collapse of vapour bubbles, felt only in cavitation. */
function createBody(machine: Machine, chaos: Random): (row: number, duty: Duty, harm: Harm) => Truth {
  const { design } = machine;
  const rated = ratedKw(design);
  let celsius: number | null = null;
  return (row, duty, harm) => {
    const wear = row / WEAR_ROWS;
    const bubbles = harm.cavitation * (1 + 0.35 * chaos.normal());
    const { pumpFlow, meteredFlow, head, shaftKw, flowRatio } = operatingPoint(design, {
      speed: duty.speed,
      resistance: duty.resistance * (1 + 7 * harm.valve ** 1.5),
      leak: 0.55 * harm.leak,
      headLoss: Math.min(0.3, 0.015 * wear + 0.14 * Math.max(0, bubbles)),
    });
    const suction =
      duty.suction -
      0.2 * (pumpFlow / design.bestFlow) ** 2 -
      0.3 * harm.cavitation +
      0.03 * (bubbles - harm.cavitation);
    const level = duty.speed ** 2 * (1 + 0.1 * wear) * (1 + 2 * (flowRatio - 1) ** 2) * duty.roughness;
    const unbalance = 1.9 * harm.imbalance * duty.speed ** 2;
    const broadband = 0.9 * Math.max(0, bubbles);
    const [x, y] = machine.vibration;
    const torque = shaftKw / rated / duty.speed;
    const settled =
      duty.ambient + 16 * (shaftKw / rated) + 8 * duty.speed ** 2 + 9 * harm.imbalance + 4 * harm.cavitation;
    celsius = celsius === null ? settled : celsius + (settled - celsius) / machine.thermalRows;
    return [
      x * (level + unbalance + broadband),
      y * (level + 0.7 * unbalance + broadband),
      machine.ratedAmps * Math.hypot(MAGNETISING_SHARE, torque),
      suction + head / METRES_PER_BAR,
      suction,
      celsius,
      meteredFlow,
      FULL_SPEED_RPM * duty.speed,
    ];
  };
}

/** Noise and offsets; a stuck sensor repeats its last reading from before. */
function createSensors(machine: Machine, random: Random): (truth: Truth, stuck: string | null) => Float64Array {
  const last = new Float64Array(PLANT_CHANNELS.length);
  return (truth, stuck) => {
    truth.forEach((value, c) => {
      const noise = 1 + Number(NOISE_SHARE[c]) * random.normal();
      const reading = Number(machine.gain[c]) * value * noise + Number(machine.offset[c]);
      if (PLANT_CHANNELS[c]?.name !== stuck) last[c] = Math.max(0, reading);
    });
    return last.slice();
  };
}

/** An endless source of rows, one a second from `startMs`; the same settings give the same rows. */
export function createPump(settings: PumpSettings): Pump {
  const { seed, pumpIndex, startMs } = settings;
  // Faults draw from a stream of their own: a pump without them lives the same life.
  const stream = (index: number) =>
    seededRandom(Math.imul(seed, 0x9e3779b1) ^ Math.imul(pumpIndex * 8 + index + 1, 0x85ebca77));
  const machine = createMachine(stream(0));
  const dutyAt = createDuty(machine, stream(1));
  const sense = createSensors(machine, stream(2));
  const schedule = createFaultSchedule(stream(3), settings);
  const bodyAt = createBody(machine, stream(4));
  let row = 0;
  return {
    next() {
      const { fault, depth } = schedule.at(row);
      const truth = bodyAt(row, dutyAt(row), harmOf(fault, depth));
      const values = sense(truth, fault?.channel ?? null);
      return { atMs: startMs + ROW_MS * row++, values, fault };
    },
  };
}
