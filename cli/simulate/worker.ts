// A worker process of `flead simulate`: carries out its parent's orders until that ends it or is gone.
import { createLogger } from "../../runtime/log.ts";
import { Problems } from "../../runtime/problems.ts";
import { shutdownSignal } from "../../runtime/shutdown.ts";
import { countWireBytes } from "../../runtime/wire-bytes.ts";
import { type FleetProblem, FleetWorker } from "./fleet-worker.ts";
import type { Reading } from "./meter.ts";
import type { Answer, Order, Request } from "./settings.ts";

const wire = countWireBytes();
const signal = shutdownSignal();
const problems = new Problems<FleetProblem>(createLogger("flead-simulate", "warn"), Date.now);
let fleet: FleetWorker | null = null;

function carryOut(order: Order): Reading | null {
  if (order.do === "start") {
    fleet = new FleetWorker(order.settings, wire, problems);
    void fleet.run(signal).then(() => process.connected && process.disconnect());
    return null;
  }
  if (fleet === null) throw new Error("an order came before the fleet was started");
  if (order.do === "read") return fleet.read();
  if (order.do === "load") fleet.load(order.load);
  else fleet.burst(order.updates);
  return null;
}

function answerTo({ id, order }: Request): Answer {
  try {
    return { id, reading: carryOut(order), failed: null };
  } catch (error) {
    return { id, reading: null, failed: (error as Error).message };
  }
}

process.on("message", (request: Request) => process.send?.(answerTo(request)));
