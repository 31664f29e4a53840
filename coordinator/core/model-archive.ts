// Which versions keep their weights at hand; those of the others go to the archive.

export interface KeptAtHand {
  /** So many of the newest versions. */
  readonly newest: number;
  readonly lastVersion: number;
  /** Of every plan that the cohort learns by, leaves or has left: it may take one up again. */
  readonly champions: ReadonlySet<number>;
  /** Bases of updates that wait for their round. */
  readonly bases: ReadonlySet<number>;
}

/** Of the versions `atHand`, those that need not stay there. */
export function versionsToArchive(atHand: readonly number[], kept: KeptAtHand): number[] {
  const { newest, lastVersion, champions, bases } = kept;
  return atHand.filter((version) => version <= lastVersion - newest && !champions.has(version) && !bases.has(version));
}
