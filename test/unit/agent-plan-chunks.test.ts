import { expect, test } from "vitest";
import { assemble } from "../../agent/adapters/plan-chunks.ts";
import type { GetPlanResponse } from "../../proto/gen/flead/v1/plan.ts";
import { MAX_BUNDLE_BYTES } from "../../proto/limits.ts";

async function* stream(chunks: readonly GetPlanResponse[]): AsyncGenerator<GetPlanResponse> {
  yield* chunks;
}

const chunk = (offset: number, totalBytes: number, text: string, signed = ""): GetPlanResponse => ({
  offset: BigInt(offset),
  totalBytes: BigInt(totalBytes),
  chunk: Buffer.from(text),
  signature: Buffer.from(signed),
  publicKey: signed,
});

test("chunks in order make the plan, signed as the first one says", async () => {
  const { bytes, signature, publicKey } = await assemble(stream([chunk(0, 5, "pla", "me"), chunk(3, 5, "n!", "you")]));
  expect(Buffer.from(bytes).toString()).toBe("plan!");
  expect([Buffer.from(signature).toString(), publicKey]).toEqual(["me", "me"]);
});

test.each<[string, GetPlanResponse[], string]>([
  ["more than a bundle may have", [chunk(0, MAX_BUNDLE_BYTES + 1, "p")], `1 to ${MAX_BUNDLE_BYTES} are allowed`],
  ["nothing", [], "no chunk came"],
  ["a gap", [chunk(1, 5, "lan!")], "a chunk at 1 where 0 was expected"],
  ["another total", [chunk(0, 5, "pla"), chunk(3, 6, "n!?")], "the total changed to 6"],
  ["more than was said", [chunk(0, 2, "pla")], "more than 2 bytes came"],
  ["less than was said", [chunk(0, 5, "pla")], "3 of 5 bytes came"],
])("%s is refused", async (_, chunks, fault) => {
  await expect(assemble(stream(chunks))).rejects.toThrow(fault);
});
