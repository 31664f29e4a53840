// Weights of older versions, out of the way of the others. A version's row stays for ever.

export interface ModelArchive {
  /**
   * Archives the weights of all versions but a cohort's `newest` ones, its champion and the bases of open updates, and
   * says of how many; a version at a time, and what `signal` leaves undone is done the next time.
   */
  archiveOlder(newest: number, signal: AbortSignal): Promise<number>;
}
