// How much an update still counts when the champion has moved on since its base.

/** 1/√(1 + s) for a base `versionsBehind` = s champions old, in (0, 1]. Nguyen et al. 2022 (FedBuff). */
export function stalenessWeight(versionsBehind: number): number {
  if (!(versionsBehind >= 0)) throw new RangeError(`${versionsBehind} versions behind: it must be 0 or more`);
  return 1 / Math.sqrt(1 + versionsBehind);
}
