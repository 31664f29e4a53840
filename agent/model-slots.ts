// A cohort's models on this gateway: the active one, the champion that is not used, the one before; and how they change places.
import type { Trial } from "./core/try-model.ts";
import type { Candidate, HeldModel, Slot, Spares } from "./ports/agent-store.ts";

export interface ModelSlots extends Spares {
  /** Null: no model has come yet. */
  readonly active: Slot | null;
}

/** Slots with an active model. */
export interface ServingSlots extends ModelSlots {
  readonly active: Slot;
}

export const isSameModel = (a: HeldModel, b: HeldModel): boolean =>
  a.globalVersion === b.globalVersion && a.trained === b.trained && sameWeights(a.weights, b.weights);

export const modelOf = ({ globalVersion, trained, fleet, base }: Slot): HeldModel => ({
  globalVersion,
  trained,
  fleet,
  weights: base,
});

/** What scores: the champion's weights, or what fine-tuning made of its last layers here. */
export const servingWeights = ({ base, tuning }: Slot): Float32Array => tuning?.weights ?? base;

/** The coordinator went back to what was active here before: its word, and no new model. */
export const servedBefore = ({ previous }: ModelSlots, { weights }: HeldModel): boolean =>
  previous !== null && sameWeights(previous.weights, weights);

/** Below what was seen of the coordinator before: its versions began again. */
export const beginsAgain = ({ active, candidate }: ModelSlots, { globalVersion }: HeldModel): boolean =>
  globalVersion < Math.max(active?.globalVersion ?? 0, candidate?.globalVersion ?? 0);

/** The model is active; of models before the coordinator's versions began again there is no way back to any. */
export function activated(slots: ModelSlots, model: HeldModel, trainWhenInvited: boolean): ServingSlots {
  const active = startingFrom(slots.active, model, trainWhenInvited);
  const previous = slots.active === null || beginsAgain(slots, model) ? null : modelOf(slots.active);
  return { active, candidate: null, previous };
}

/** The models as they are; when to train is said anew. */
export function invited(slots: ServingSlots, trainWhenInvited: boolean): ServingSlots {
  if (slots.active.trainWhenInvited === trainWhenInvited) return slots;
  return { ...slots, active: { ...slots.active, trainWhenInvited } };
}

/** The model waits beside the active one, which goes on. */
export function held(slots: ServingSlots, model: HeldModel, trial: Trial): ServingSlots {
  return { ...slots, candidate: { ...modelIn(model), trial } };
}

/** The candidate is active, whatever its trial said; null: there is none of this version. */
export function forced({ active, candidate }: ServingSlots, globalVersion: number): ServingSlots | null {
  if (candidate?.globalVersion !== globalVersion) return null;
  return {
    active: startingFrom(active, candidate, active.trainWhenInvited),
    candidate: null,
    previous: modelOf(active),
  };
}

/** The model before is active, and the one that was is the candidate; null: there is none before. */
export function rolledBack({ active, previous }: ServingSlots): ServingSlots | null {
  if (previous === null) return null;
  const candidate: Candidate = { ...modelOf(active), trial: null };
  return { active: startingFrom(active, previous, active.trainWhenInvited), candidate, previous: null };
}

/** Local training begins anew at the model; what was counted and what is owed goes on. */
function startingFrom(before: Slot | null, model: HeldModel, trainWhenInvited: boolean): Slot {
  const { globalVersion, trained, fleet, weights } = model;
  const untrained = { localSteps: 0, residual: new Float32Array(weights.length), answeredRound: null };
  const { localSteps, residual, answeredRound } = before ?? untrained;
  const kept = { localSteps, residual, answeredRound };
  return { ...kept, globalVersion, trained, fleet, trainWhenInvited, base: weights, local: weights, tuning: null };
}

const modelIn = ({ globalVersion, trained, fleet, weights }: HeldModel): HeldModel => ({
  globalVersion,
  trained,
  fleet,
  weights,
});

const sameWeights = (a: Float32Array, b: Float32Array) =>
  a.length === b.length && a.every((value, index) => value === b[index]);

/** Local training begins anew at the same champion, and nothing is owed. */
export const backToBase = (slot: Slot): Slot => ({
  ...slot,
  local: slot.base,
  residual: new Float32Array(slot.base.length),
});
