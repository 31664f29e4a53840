// `flead agent schema`: the JSON Schema of mapping files, for editors.
import { Command } from "commander";

export function agentSchemaCommand(): Command {
  return new Command("schema")
    .description("Print the JSON Schema of mapping files, by which editors complete and check them.")
    .action(async () => {
      const { mappingJsonSchema } = await import("../agent/adapters/mapping-schema.ts");
      process.stdout.write(`${JSON.stringify(mappingJsonSchema(), null, 2)}\n`);
    })
    .exitOverride();
}
