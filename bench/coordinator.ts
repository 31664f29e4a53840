// What the coordinator bears, beside floors of the same bytes in the same run: npm run bench:coordinator -- [--json FILE]
import { writeFile } from "node:fs/promises";
import { parseArgs } from "node:util";
import { describeReport } from "./coordinator/report.ts";
import { runBench } from "./coordinator/run.ts";
import { FULL, QUICK } from "./coordinator/sizes.ts";
import { targets } from "./coordinator/targets.ts";

const { values: options } = parseArgs({
  options: { json: { type: "string" }, quick: { type: "boolean", default: false }, gateways: { type: "string" } },
});

function gatewaysOf(given: string): number {
  const count = Number(given);
  if (Number.isInteger(count) && count >= 2 && count <= 20_000) return count;
  throw new Error(`--gateways ${given}: a whole number from 2 to 20000 is wanted`);
}

const preset = options.quick ? QUICK : FULL;
const sizes = options.gateways === undefined ? preset : { ...preset, gateways: gatewaysOf(options.gateways) };
const report = await runBench(sizes, (what) => process.stderr.write(`${what}\n`));
console.log(describeReport(report));
if (options.json !== undefined) {
  await writeFile(options.json, `${JSON.stringify({ ...report, targets: targets(report) }, null, 2)}\n`);
}
