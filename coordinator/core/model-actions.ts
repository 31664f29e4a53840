// What an operator may do with a cohort's versions. What becomes champion is always a new version with the weights of an
// older one, so that versions only rise and the champions of a cohort are one line.

export type ModelAction =
  /** A candidate or rejected version that was never champion; a version that was. */
  | { readonly kind: "promote" | "roll_back"; readonly version: number }
  /** The champion stays until it is unpinned, whatever a round brings. */
  | { readonly kind: "pin" | "unpin" };

export interface Pin {
  readonly by: string;
  readonly reason: string;
}

export interface ChampionStanding {
  readonly planId: string;
  readonly version: number;
  /** The version whose weights it has: its own, unless an operator made it. */
  readonly origin: number;
  readonly pin: Pin | null;
}

export type ModelStatus = "candidate" | "champion" | "rejected" | "rolled_back" | "pinned";
/** Dropped: they were archived for as long as the archive keeps them. */
export type WeightsState = "at_hand" | "archived" | "dropped";

/** The version that is to become champion again, or for the first time. */
export interface TargetStanding {
  readonly planId: string;
  readonly version: number;
  readonly origin: number;
  readonly status: ModelStatus;
  readonly weights: WeightsState;
}

/** Why the action is refused; null: it may be done. */
export function refusalOfPin(kind: "pin" | "unpin", { version, pin }: ChampionStanding): string | null {
  if (kind === "pin") return pin && `version ${version} is ${pinnedBy(pin)} already`;
  return pin === null ? "no version is pinned" : null;
}

/** Why the target does not become champion; null: it may. */
export function refusalOfChange(
  kind: "promote" | "roll_back",
  champion: ChampionStanding,
  target: TargetStanding,
): string | null {
  const { version } = target;
  if (champion.pin) return `version ${champion.version} is ${pinnedBy(champion.pin)}: unpin it first`;
  if (target.planId !== champion.planId) {
    return `version ${version} is of plan ${target.planId.slice(0, 12)}, the cohort learns by ${champion.planId.slice(0, 12)}`;
  }
  if (version === champion.version) return `version ${version} is the champion`;
  if (target.origin === champion.origin) return `the champion, version ${champion.version}, has its weights already`;
  const wasChampion = target.status !== "candidate" && target.status !== "rejected";
  if (kind === "promote" && wasChampion) return `version ${version} was champion before: roll back to it`;
  if (kind === "roll_back" && !wasChampion) return `version ${version} was never champion: promote it`;
  return target.weights === "dropped" ? `the weights of version ${version} were dropped from the archive` : null;
}

export const pinnedBy = ({ by, reason }: Pin) => `pinned by ${by}: ${reason}`;
