// How well the default plan detects, by the product's own code: node dist/bench/detection.js --skab DIR
import { writeFile } from "node:fs/promises";
import { parseArgs } from "node:util";
import type { CombiningRule } from "../learning/aggregation/rules.ts";
import type { DeltaCodec, PlanSettings } from "../learning/plan.ts";
import { presets } from "../learning/presets.ts";
import { writeNabResults } from "./detection/nab.ts";
import { DEFAULT_CODEC, DEFAULT_RULE, measure, seedPlan, trivialAnswers, type Variant } from "./detection/regimes.ts";
import { type Dataset, plant, skab } from "./detection/streams.ts";
import { type Answer, markdown, tableRows } from "./detection/table.ts";

const ROUNDS = 25;
const PLANT_ROWS = 6000;

const { values: options } = parseArgs({
  options: {
    skab: { type: "string" },
    runs: { type: "string", default: "valve1" },
    seeds: { type: "string", default: "5" },
    json: { type: "string" },
    nab: { type: "string" },
    only: { type: "string" },
  },
});

const federated = (change: Partial<Variant>): Variant => ({
  regime: "federated",
  rule: DEFAULT_RULE,
  codec: DEFAULT_CODEC,
  liars: 0,
  ...change,
});
const codecs: readonly DeltaCodec[] = [{ kind: "float32" }, { kind: "float16" }, { kind: "top_k_int8", share: 0.1 }];
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

if (options.nab !== undefined) {
  const written = await writeNabResults(options.nab, ROUNDS);
  console.log(`${written.length} result files written; NAB's own scorer scores them`);
  process.exit(0);
}

const data: Dataset =
  options.skab === undefined
    ? plant(PLANT_ROWS)
    : await skab(options.skab, options.runs === "all" ? "all" : options.runs.split(","));
const seeds = Number(options.seeds);
if (!(Number.isInteger(seeds) && seeds >= 1 && seeds <= 100))
  throw new Error(`--seeds ${options.seeds}: 1 to 100 are possible`);
const plan: PlanSettings = { ...presets.machines, channels: data.channels };
const answers: Answer[] = trivialAnswers(plan, data);
const seedDesign = federated({ regime: "seed design", rule: { kind: "fedavg" }, codec: { kind: "float32" } });
for (const variant of options.only
  ? [...variants, seedDesign].filter(({ regime }) => regime === options.only).slice(0, 1)
  : [...variants, seedDesign]) {
  for (let seed = 1; seed <= seeds; seed++) {
    const base = variant === seedDesign ? seedPlan(data.channels, plan.commissioningRows) : plan;
    answers.push(...(await measure({ ...base, training: { ...base.training, seed } }, data, variant, ROUNDS)));
  }
}
const rows = tableRows(answers);
console.log(markdown(rows));
if (options.json !== undefined) await writeFile(options.json, `${JSON.stringify(rows, null, 2)}\n`);
