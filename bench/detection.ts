// How well the default plan detects, by the product's own code: node dist/bench/detection.js --skab DIR
import { writeFile } from "node:fs/promises";
import { parseArgs } from "node:util";
import type { CombiningRule } from "../learning/aggregation/rules.ts";
import type { DeltaCodec, PlanSettings } from "../learning/plan.ts";
import { presets } from "../learning/presets.ts";
import { writeNabResults } from "./detection/nab.ts";
import {
  codecName,
  DEFAULT_CODEC,
  DEFAULT_RULE,
  FOREST_RULE,
  measure,
  seedPlan,
  trivialAnswers,
  type Variant,
} from "./detection/regimes.ts";
import { type Dataset, plant, skab } from "./detection/streams.ts";
import { type Answer, markdown, type TableRow, tableRows } from "./detection/table.ts";
import { targets } from "./detection/targets.ts";
import { targetTable } from "./table.ts";

const ROUNDS = 25;
/** Trees are grown anew in each: the first round's are of scales that the fleet has not spoken of. */
const FOREST_ROUNDS = 3;
const PLANT_ROWS = 6000;

const { values: options } = parseArgs({
  options: {
    skab: { type: "string" },
    runs: { type: "string", default: "valve1" },
    seeds: { type: "string", default: "5" },
    regimes: { type: "string" },
    json: { type: "string" },
    nab: { type: "string" },
  },
});

const federated = (change: Partial<Variant>): Variant => ({
  regime: "federated",
  rule: DEFAULT_RULE,
  codec: DEFAULT_CODEC,
  liars: 0,
  ...change,
});
const codecs: readonly DeltaCodec[] = [
  { kind: "float32" },
  { kind: "float16" },
  { kind: "top_k_int8", share: 0.08 },
  { kind: "top_k_int8", share: 0.12 },
];
const rules: readonly CombiningRule[] = [{ kind: "fedavg" }, { kind: "median" }, { kind: "trimmed_mean", share: 0.2 }];
const LIARS = 0.2;

const variants: readonly Variant[] = [
  federated({}),
  federated({ regime: "fine-tuned" }),
  federated({ regime: "centralised" }),
  federated({ regime: "local" }),
  federated({ regime: "no network" }),
  ...codecs.map((codec) => federated({ codec })),
  ...rules.map((rule) => federated({ rule })),
  federated({ liars: LIARS }),
  ...rules.map((rule) => federated({ rule, liars: LIARS })),
];

const others: readonly Variant[] = [
  federated({ regime: "seed design", rule: { kind: "fedavg" }, codec: { kind: "float32" } }),
  federated({ regime: "own forest", rule: FOREST_RULE, codec: { kind: "float32" } }),
  federated({ regime: "pooled forest", rule: FOREST_RULE, codec: { kind: "float32" } }),
];

/** The default plan, but for the designs that it is compared with. */
function planOf({ regime }: Variant, channels: Dataset["channels"]): PlanSettings {
  const { machines, forest } = presets;
  if (regime === "seed design") return seedPlan(channels, machines.commissioningRows);
  return { ...(regime.endsWith("forest") ? forest : machines), channels };
}

function seedCount(given: string): number {
  const count = Number(given);
  if (!(Number.isInteger(count) && count >= 1 && count <= 100)) {
    throw new Error(`--seeds ${given}: a whole number from 1 to 100 is wanted`);
  }
  return count;
}

function dataset({ skab: folder, runs }: { readonly skab?: string; readonly runs: string }): Promise<Dataset> {
  if (folder === undefined) return Promise.resolve(plant(PLANT_ROWS));
  return skab(folder, runs === "all" ? "all" : runs.split(","));
}

/** Every variant of these regimes with every seed, and what stands beside them. */
async function measureAll(data: Dataset, seeds: number, regimes: readonly string[] | null): Promise<TableRow[]> {
  const answers: Answer[] = trivialAnswers({ ...presets.machines, channels: data.channels }, data);
  for (const variant of [...variants, ...others]) {
    if (regimes !== null && !regimes.includes(variant.regime)) continue;
    const plan = planOf(variant, data.channels);
    const rounds = variant.regime.endsWith("forest") ? FOREST_ROUNDS : ROUNDS;
    process.stderr.write(`${describe(variant)}\n`);
    for (let seed = 1; seed <= seeds; seed++) {
      answers.push(...(await measure({ ...plan, training: { ...plan.training, seed } }, data, variant, rounds)));
    }
  }
  return tableRows(answers);
}

const describe = ({ regime, rule, codec, liars }: Variant) =>
  [regime, rule.kind, codecName(codec), ...(liars > 0 ? ["liars"] : [])].join(", ");

if (options.nab !== undefined) {
  const written = await writeNabResults(options.nab, ROUNDS);
  console.log(`${written.length} result files written; NAB's own scorer scores them`);
} else {
  const rows = await measureAll(await dataset(options), seedCount(options.seeds), options.regimes?.split(",") ?? null);
  console.log(markdown(rows));
  if (rows.some(({ group }) => group === "valve1")) console.log(`\n${targetTable(targets(rows))}`);
  if (options.json !== undefined) await writeFile(options.json, `${JSON.stringify(rows, null, 2)}\n`);
}
