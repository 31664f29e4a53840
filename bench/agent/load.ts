// The publisher's process, as the benchmark gives it orders.
import { type ChildProcess, fork } from "node:child_process";
import { join } from "node:path";
import { packageRoot } from "../../runtime/package-root.ts";
import type { Order, Said } from "./publisher.ts";

export class Load {
  readonly #child: ChildProcess;

  /** Resolves when it is connected to the broker. */
  static async start(url: string): Promise<Load> {
    const load = new Load(fork(join(packageRoot, "dist/bench/agent/publisher.js"), [url]));
    await load.#heard("ready");
    return load;
  }

  private constructor(child: ChildProcess) {
    this.#child = child;
  }

  get pid(): number {
    return this.#child.pid as number;
  }

  /** Devices in turn; `perSecond` null: as fast as the broker takes them. */
  begin(devices: number, perSecond: number | null): void {
    this.#order({ kind: "publish", devices, perSecond, count: null });
  }

  /** Resolves when `count` readings are published. */
  async publish(devices: number, perSecond: number | null, count: number): Promise<void> {
    this.#order({ kind: "publish", devices, perSecond, count });
    await this.#heard("done");
  }

  /** From now on the device's readings are far from its others, or like them again. */
  wrong(device: number, on: boolean): void {
    this.#order({ kind: "wrong", device, on });
  }

  /** How many readings were published since they were begun. */
  async stop(): Promise<number> {
    this.#order({ kind: "stop" });
    return (await this.#heard("stopped")).published;
  }

  close(): void {
    this.#child.disconnect();
  }

  #order(order: Order): void {
    this.#child.send(order);
  }

  #heard(kind: Said["kind"]): Promise<Said> {
    return new Promise((resolve, reject) => {
      const ended = () => reject(new Error("the publisher ended by itself"));
      const hear = (said: Said) => {
        if (said.kind !== kind) return;
        this.#child.off("message", hear);
        this.#child.off("exit", ended);
        resolve(said);
      };
      this.#child.on("message", hear);
      this.#child.once("exit", ended);
    });
  }
}
