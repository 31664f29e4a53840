// A centrifugal pump on its system: where pump curve and system curve meet, and the power that takes.

/** Metres of water to a bar. */
export const METRES_PER_BAR = 10.2;
/** kW for 1 m³/h lifted by 1 m: ρ g / 3.6e6. */
const HYDRAULIC_KW = 2.725e-3;
/** Shares of the shut-off head at full speed: lost in the pump at its best flow, and static in the system. */
const INNER_LOSS = 0.2;
const STATIC_HEAD = 0.2;

export interface PumpDesign {
  /** Flow of best efficiency at full speed, m³/h. */
  readonly bestFlow: number;
  /** Head without flow at full speed, m. */
  readonly shutOffHead: number;
  readonly bestEfficiency: number;
}

export interface Operation {
  /** Speed as a share of full speed, in (0, 1]. */
  readonly speed: number;
  /** Friction of the system as a multiple of the designed one. */
  readonly resistance: number;
  /** Share of the pump's flow lost ahead of the flow meter. */
  readonly leak: number;
  /** Share of the shut-off head that is lost in the pump. */
  readonly headLoss: number;
}

export interface OperatingPoint {
  /** Through the pump and past the meter, m³/h. */
  readonly pumpFlow: number;
  readonly meteredFlow: number;
  /** m. */
  readonly head: number;
  readonly shaftKw: number;
  /** Flow as a share of the best flow at this speed. */
  readonly flowRatio: number;
}

/** Solves H(Q) = n² H₀ − A Q² (affinity laws) against the system's Hs + K Q² with the leak between them. */
export function operatingPoint(design: PumpDesign, { speed, resistance, leak, headLoss }: Operation): OperatingPoint {
  const { bestFlow, shutOffHead, bestEfficiency } = design;
  const inner = (INNER_LOSS * shutOffHead) / bestFlow ** 2;
  const friction = (resistance * (1 - INNER_LOSS - STATIC_HEAD) * shutOffHead) / bestFlow ** 2;
  const lift = shutOffHead * speed ** 2 * (1 - headLoss);
  const drive = Math.max(0, lift - STATIC_HEAD * shutOffHead);
  const pumpFlow = Math.sqrt(drive / (inner + friction * (1 - leak) ** 2));
  const head = lift - inner * pumpFlow ** 2;
  const flowRatio = pumpFlow / (speed * bestFlow);
  const efficiency = bestEfficiency * Math.max(0.25, 1 - 0.7 * (flowRatio - 1) ** 2) * (1 - 0.5 * headLoss);
  // Disc friction takes power even without flow.
  const idleKw = 0.1 * ratedKw(design) * speed ** 3;
  return {
    pumpFlow,
    meteredFlow: pumpFlow * (1 - leak),
    head,
    shaftKw: idleKw + (0.9 * HYDRAULIC_KW * pumpFlow * head) / efficiency,
    flowRatio,
  };
}

/** Shaft power at full speed and best flow, kW. */
export function ratedKw({ bestFlow, shutOffHead, bestEfficiency }: PumpDesign): number {
  return (HYDRAULIC_KW * bestFlow * (1 - INNER_LOSS) * shutOffHead) / bestEfficiency;
}
