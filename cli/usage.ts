// Options that several subcommands share, and the error for a wrong one.
import { type Command, InvalidArgumentError } from "commander";

/** What was asked for cannot be done as asked; the message says what can. Exit code 2. */
export class UsageError extends Error {}

/** An option that stands for a variable of the environment and wins over it. */
export interface VariableOption {
  readonly flags: string;
  readonly variable: string;
  readonly description: string;
  readonly repeatable?: boolean;
}

export function addVariableOptions(command: Command, options: readonly VariableOption[]): Command {
  for (const { flags, variable, description, repeatable } of options) {
    const text = `${description} [${variable}]`;
    if (repeatable)
      command.option(flags, text, (value: string, before: string[] | undefined) => [...(before ?? []), value]);
    else command.option(flags, text);
  }
  return command;
}

/** The environment with the given options laid over it. */
export function environmentWith(
  command: Command,
  options: readonly VariableOption[],
): Record<string, string | undefined> {
  const environment = { ...process.env };
  for (const { flags, variable } of options) {
    const name = command.options.find((option) => option.flags === flags)?.attributeName() ?? "";
    const given = command.opts<Record<string, string | string[]>>()[name];
    if (given !== undefined) environment[variable] = Array.isArray(given) ? given.join(",") : given;
  }
  return environment;
}

/** Parser of an option that takes a whole number within bounds. */
export function wholeNumber(low: number, high: number): (text: string) => number {
  return (text) => {
    const value = Number(text);
    if (/^\d+$/.test(text) && value >= low && value <= high) return value;
    throw new InvalidArgumentError(`It must be a whole number from ${low} to ${high}.`);
  };
}
