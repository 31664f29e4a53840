// A store of which only open rounds are asked: for tests that decide when and what it answers.
import type { FederationStore } from "../../coordinator/ports/federation-store.ts";

export const unasked = () => {
  throw new Error("no test asks for this");
};

export const storeOfRounds = (openRound: FederationStore["openRound"]): FederationStore => ({
  openRound,
  loadCohorts: unasked,
  loadCohort: unasked,
  loadPlans: unasked,
  leavePlans: unasked,
  revisions: unasked,
  defineCohort: unasked,
  planBundle: unasked,
  addUpdate: unasked,
  addRefusal: unasked,
  roundUpdates: unasked,
  gatewayStatistics: unasked,
  recordRound: unasked,
});
