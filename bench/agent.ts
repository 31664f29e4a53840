// What the agent bears on one core, beside Node-RED and a bare subscriber: npm run bench:agent -- [--quick] [--json FILE]
import { writeFile } from "node:fs/promises";
import { parseArgs } from "node:util";
import { describeReport, targets } from "./agent/report.ts";
import { runBench } from "./agent/run.ts";
import { FULL, QUICK } from "./agent/sizes.ts";

const { values: options } = parseArgs({
  options: {
    json: { type: "string" },
    quick: { type: "boolean", default: false },
    /** Without fetching Node-RED from npm. */
    "no-node-red": { type: "boolean", default: false },
  },
});

const say = (what: string) => process.stderr.write(`${what}\n`);
const report = await runBench(options.quick ? QUICK : FULL, !options["no-node-red"], say);
console.log(describeReport(report));
if (options.json !== undefined) {
  await writeFile(options.json, `${JSON.stringify({ ...report, targets: targets(report) }, null, 2)}\n`);
}
