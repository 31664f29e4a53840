// What an operator may tell one gateway, and whether the gateway could do it by what it said last.

export type GatewayCommand =
  | { readonly action: "send_report" }
  | { readonly action: "reconnect" }
  /** The candidate of this version becomes the active model. */
  | { readonly action: "activate_model"; readonly cohort: string; readonly globalVersion: number }
  /** The model before the active one becomes active. */
  | { readonly action: "roll_back_model"; readonly cohort: string };

/** The models that a gateway holds of a cohort. */
export interface ModelsHeld {
  readonly cohort: string;
  readonly candidate: { readonly globalVersion: number } | null;
  readonly previousVersion: number | null;
}

/** Why it could not; null: it could. */
export function refusalOfCommand(command: GatewayCommand, held: readonly ModelsHeld[]): string | null {
  if (command.action === "send_report" || command.action === "reconnect") return null;
  const models = held.find(({ cohort }) => cohort === command.cohort);
  if (models === undefined)
    return `it has no cohort ${command.cohort}; it has ${held.map(({ cohort }) => cohort).join(", ") || "none"}`;
  if (command.action === "roll_back_model")
    return models.previousVersion === null ? `it keeps no model of ${command.cohort} from before the active one` : null;
  const candidate = models.candidate?.globalVersion ?? null;
  if (candidate === command.globalVersion) return null;
  return `version ${command.globalVersion} of ${command.cohort} is not its candidate, which is ${candidate ?? "none"}`;
}
