// A file of nothing, given up when the disk is full, so that alerts can still be written.
import { randomFillSync } from "node:crypto";
import { renameSync, rmSync, statfsSync, statSync, writeFileSync } from "node:fs";
import { dirname } from "node:path";

/** It is filled only where so many times its size is free: what was given up is not taken back at once. */
const ROOMY = 4;

export class Ballast {
  readonly #path: string;
  readonly #bytes: number;

  constructor(path: string, bytes: number) {
    this.#path = path;
    this.#bytes = bytes;
  }

  get held(): boolean {
    return statSync(this.#path, { throwIfNoEntry: false })?.size === this.#bytes;
  }

  /** Whether it is there; random, since a file system may store zeros in no space. */
  fill(): boolean {
    if (this.held) return true;
    if (freeBytes(dirname(this.#path)) < ROOMY * this.#bytes) return false;
    const unfinished = `${this.#path}.new`;
    try {
      writeFileSync(unfinished, randomFillSync(Buffer.allocUnsafe(this.#bytes)), { flush: true });
      renameSync(unfinished, this.#path);
      return true;
    } catch {
      rmSync(unfinished, { force: true }); // no room after all
      return false;
    }
  }

  /** Whether that made room. */
  release(): boolean {
    if (!this.held) return false;
    rmSync(this.#path, { force: true });
    return true;
  }
}

/** Of the file system that holds `path`, for who is not root. */
export function freeBytes(path: string): number {
  const { bavail, bsize } = statfsSync(path);
  return bavail * bsize;
}
