// `flead demo`: the product in small, on one machine, with nothing to set up.
import { Command, InvalidArgumentError } from "commander";
import { wholeNumber } from "../usage.ts";

export interface DemoOptions {
  readonly rounds?: number;
  readonly json?: string;
  readonly seed: number;
  readonly speed: number;
}

const MAX_SPEED = 200;

export function demoCommand(): Command {
  return new Command("demo")
    .description(
      "Run a coordinator, six gateway agents, a broker and a simulated pump plant as real processes.\n" +
        "It runs until Ctrl-C, or for a number of rounds, and then says what was measured.",
    )
    .option("--rounds <n>", "end after so many rounds", wholeNumber(1, 10_000))
    .option("--json <file>", "write the report there, too")
    .option("--seed <n>", "seed of the plant; the same seed gives the same sensor data", wholeNumber(0, 2 ** 31 - 1), 1)
    .option("--speed <factor>", "plant seconds a second", speed, 20)
    .action(async (options: DemoOptions) => {
      const { runDemo } = await import("./demo.ts");
      await runDemo(options);
    });
}

function speed(text: string): number {
  const factor = Number(text);
  if (factor > 0 && factor <= MAX_SPEED) return factor;
  throw new InvalidArgumentError(`It must be a number above 0 and at most ${MAX_SPEED}.`);
}
