// How well the default plan detects, by the product's own code: node dist/bench/detection.js --skab DIR
import { writeFile } from "node:fs/promises";
import { parseArgs } from "node:util";
import type { CombiningRule } from "../learning/aggregation/rules.ts";
import type { DeltaCodec, PlanSettings } from "../learning/plan.ts";
import { presets } from "../learning/presets.ts";
import { measureForests } from "./detection/forests.ts";
import { writeNabResults } from "./detection/nab.ts";
import {
  codecName,
  DEFAULT_CODEC,
  DEFAULT_RULE,
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
const PLANT_ROWS = 6000;

const { values: options } = parseArgs({
  options: {
    skab: { type: "string" },
    runs: { type: "string", default: "valve1" },
    seeds: { type: "string", default: "5" },
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
  federated({ regime: "centralised" }),
  federated({ regime: "local" }),
  federated({ regime: "no network" }),
  ...codecs.map((codec) => federated({ codec })),
  ...rules.map((rule) => federated({ rule })),
  federated({ liars: LIARS }),
  ...rules.map((rule) => federated({ rule, liars: LIARS })),
];

const seedDesign = federated({ regime: "seed design", rule: { kind: "fedavg" }, codec: { kind: "float32" } });

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

/** Every variant with every seed, and what stands beside them. */
async function measureAll(data: Dataset, seeds: number): Promise<TableRow[]> {
  const plan: PlanSettings = { ...presets.machines, channels: data.channels };
  const headRows = plan.commissioningRows;
  const answers: Answer[] = trivialAnswers(plan, data);
  for (const variant of [...variants, seedDesign]) {
    const base = variant === seedDesign ? seedPlan(data.channels, headRows) : plan;
    process.stderr.write(`${describe(variant)}\n`);
    for (let seed = 1; seed <= seeds; seed++) {
      answers.push(...(await measure({ ...base, training: { ...base.training, seed } }, data, variant, ROUNDS)));
    }
  }
  process.stderr.write("isolation forests\n");
  for (let seed = 1; seed <= seeds; seed++) answers.push(...(await measureForests(data, headRows, seed)));
  return tableRows(answers);
}

const describe = ({ regime, rule, codec, liars }: Variant) =>
  [regime, rule.kind, codecName(codec), ...(liars > 0 ? ["liars"] : [])].join(", ");

if (options.nab !== undefined) {
  const written = await writeNabResults(options.nab, ROUNDS);
  console.log(`${written.length} result files written; NAB's own scorer scores them`);
} else {
  const rows = await measureAll(await dataset(options), seedCount(options.seeds));
  console.log(markdown(rows));
  if (rows.some(({ group }) => group === "valve1")) console.log(`\n${targetTable(targets(rows))}`);
  if (options.json !== undefined) await writeFile(options.json, `${JSON.stringify(rows, null, 2)}\n`);
}
