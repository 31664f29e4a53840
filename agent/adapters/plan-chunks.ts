// A plan's chunks back to its bytes and signature; whatever is missing, out of place or too much is an error.
import type { GetPlanResponse } from "../../proto/gen/flead/v1/plan.ts";
import { MAX_BUNDLE_BYTES } from "../../proto/limits.ts";

export class PlanChunkError extends Error {
  constructor(message: string) {
    super(message);
    this.name = "PlanChunkError";
  }
}

export interface AssembledPlan {
  readonly bytes: Uint8Array;
  /** As they came; empty: not signed. */
  readonly signature: Uint8Array;
  readonly publicKey: string;
}

export async function assemble(chunks: AsyncIterable<GetPlanResponse>): Promise<AssembledPlan> {
  let bytes: Uint8Array | null = null;
  let signed: Pick<AssembledPlan, "signature" | "publicKey"> = { signature: new Uint8Array(), publicKey: "" };
  let received = 0;
  for await (const { offset, totalBytes, chunk, signature, publicKey } of chunks) {
    if (totalBytes <= 0n || totalBytes > MAX_BUNDLE_BYTES) {
      throw new PlanChunkError(`a plan of ${totalBytes} bytes; 1 to ${MAX_BUNDLE_BYTES} are allowed`);
    }
    if (bytes === null) signed = { signature, publicKey };
    bytes ??= new Uint8Array(Number(totalBytes));
    if (Number(totalBytes) !== bytes.byteLength) throw new PlanChunkError(`the total changed to ${totalBytes} bytes`);
    if (Number(offset) !== received) throw new PlanChunkError(`a chunk at ${offset} where ${received} was expected`);
    if (received + chunk.byteLength > bytes.byteLength) throw new PlanChunkError(`more than ${totalBytes} bytes came`);
    bytes.set(chunk, received);
    received += chunk.byteLength;
  }
  if (bytes === null) throw new PlanChunkError("no chunk came");
  if (received !== bytes.byteLength) throw new PlanChunkError(`${received} of ${bytes.byteLength} bytes came`);
  return { bytes, ...signed };
}
