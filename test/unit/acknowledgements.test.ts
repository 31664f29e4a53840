// Acknowledged feedback on its way into the database.
import { expect, test } from "vitest";
import { Acknowledgements } from "../../coordinator/adapters/session/acknowledgements.ts";
import type { FeedbackAcknowledgement } from "../../coordinator/ports/gateway-store.ts";
import { cohortId, gatewayId } from "../../learning/ids.ts";

const of = (gateway: string, globalVersion: number): FeedbackAcknowledgement => ({
  gatewayId: gatewayId(gateway),
  cohort: cohortId("pumps"),
  globalVersion,
});

/** A store of which a test says when it has stored. */
function slowStore() {
  const told: (readonly FeedbackAcknowledgement[])[] = [];
  const waiting: PromiseWithResolvers<void>[] = [];
  const store = {
    acknowledgeFeedback: (acknowledged: readonly FeedbackAcknowledgement[]) => {
      told.push(acknowledged);
      const answer = Promise.withResolvers<void>();
      waiting.push(answer);
      return answer.promise;
    },
  };
  return { store, told, next: () => waiting.shift() as PromiseWithResolvers<void> };
}

const moment = () => new Promise((resolve) => setImmediate(resolve));

test("of a gateway and cohort the newest is told, and nothing twice", async () => {
  const { store, told, next } = slowStore();
  const acknowledgements = new Acknowledgements(store);
  for (const version of [2, 4, 3]) acknowledgements.add(of("a", version));
  acknowledgements.add(of("b", 1));
  const telling = acknowledgements.tell();
  await moment();
  next().resolve();
  await telling;
  await acknowledgements.tell();
  expect(told).toEqual([[of("a", 4), of("b", 1)]]);
});

test("who asks while they are being told, as a hello does, goes on when they are told", async () => {
  const { store, told, next } = slowStore();
  const acknowledgements = new Acknowledgements(store);
  acknowledgements.add(of("a", 2));
  void acknowledgements.tell();
  await moment();
  let isTold = false;
  const asked = acknowledgements.tell().then(() => {
    isTold = true;
  });
  await moment();
  expect(isTold).toBe(false);
  next().resolve();
  await asked;
  expect(told).toEqual([[of("a", 2)]]);
});

test("a store that fails is told of, and hears of what comes next", async () => {
  const { store, told, next } = slowStore();
  const acknowledgements = new Acknowledgements(store);
  acknowledgements.add(of("a", 2));
  const failing = acknowledgements.tell();
  await moment();
  acknowledgements.add(of("a", 3));
  const later = acknowledgements.tell();
  next().reject(new Error("away"));
  await expect(failing).rejects.toThrow("away");
  await moment();
  next().resolve();
  await later;
  expect(told).toEqual([[of("a", 2)], [of("a", 3)]]);
});
