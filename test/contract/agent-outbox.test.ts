// What waits to be sent is counted in bytes, whatever becomes of the writes.
import { join } from "node:path";
import Database from "better-sqlite3";
import fc from "fast-check";
import { expect, test } from "vitest";
import { SqliteStore } from "../../agent/adapters/sqlite-store.ts";
import { PLAN, PUMPS, updateOf } from "../support/kept-things.ts";
import { temporaryFolder } from "../support/temp.ts";

const folder = temporaryFolder("agent-outbox");
const message = (size: number) => ({ topic: "t", payload: "x".repeat(size), retain: false });

const step = fc.oneof(
  fc.record({ kind: fc.constant("message" as const), size: fc.integer({ min: 0, max: 300 }) }),
  fc.record({ kind: fc.constant("update" as const), supersedes: fc.boolean() }),
  fc.record({ kind: fc.constant("sent" as const) }),
  fc.record({ kind: fc.constant("answered" as const) }),
);

test("the bytes that wait are those of what waits, also where writes were undone", () => {
  let files = 0;
  let ids = 0;
  fc.assert(
    fc.property(fc.array(fc.tuple(fc.boolean(), fc.array(step, { maxLength: 6 })), { maxLength: 12 }), (works) => {
      const path = join(folder, `${files++}.sqlite`);
      const store = new SqliteStore(path, { nowMs: 0 });
      store.learning.startPlan(PUMPS, PLAN);
      const take = (each: typeof step extends fc.Arbitrary<infer Step> ? Step : never) => {
        if (each.kind === "message") store.alerts.addMessages([message(each.size)]);
        else if (each.kind === "update") {
          store.learning.addUpdate(updateOf(ids++), each.supersedes);
        } else if (each.kind === "sent") store.alerts.removeMessage(store.alerts.queuedMessages(1)[0]?.sequence ?? 0);
        else store.learning.removeUpdate(store.learning.queuedUpdates(1)[0] ?? "");
      };
      for (const [undone, steps] of works) {
        try {
          store.transaction(() => {
            for (const each of steps) take(each);
            if (undone) throw new Error("undone");
          });
        } catch (error) {
          expect((error as Error).message).toBe("undone");
        }
      }
      const { updates, alerts } = store.outboxBytes();
      store.close();
      const file = new Database(path, { readonly: true });
      const held = (kind: string) =>
        file.prepare("SELECT coalesce(sum(length(body)), 0) FROM outbox WHERE kind = ?").pluck().get(kind);
      expect([updates, alerts]).toEqual([held("update"), held("alert")]);
      file.close();
    }),
    { numRuns: 40 },
  );
});
