// The scores a detector gave to its last normal rows, to say how unusual another one is.

const KEPT_SCORES = 300;

export class RecentScores {
  #scores: number[];
  #next: number;

  constructor(scores: readonly number[] = []) {
    this.#scores = scores.slice(-KEPT_SCORES);
    this.#next = this.#scores.length % KEPT_SCORES;
  }

  add(score: number): void {
    if (this.#scores.length < KEPT_SCORES) this.#scores.push(score);
    else this.#scores[this.#next] = score;
    this.#next = (this.#next + 1) % KEPT_SCORES;
  }

  /** The share of kept scores that `score` reaches, (# ≤ score) / (n + 1). */
  percentile(score: number): number {
    let reached = 0;
    for (const kept of this.#scores) if (kept <= score) reached++;
    return reached / (this.#scores.length + 1);
  }

  values(): readonly number[] {
    return this.#scores.slice();
  }
}
