import { sql } from "kysely";
import { beforeEach, expect, test } from "vitest";
import { useSigningKey } from "../../coordinator/adapters/postgres-signing-key.ts";
import { onEveryHome } from "../support/homes.ts";

const [OLD, NEW, OTHER] = ["o", "n", "x"].map((letter) => letter.repeat(43)) as [string, string, string];

onEveryHome((home) => {
  const db = () => home.database.kysely;
  const use = (key: string, before?: string) => useSigningKey(db(), key, before);
  const inForce = async () =>
    (await db().selectFrom("signing_keys").select("plan_key").where("until", "is", null).execute()).map(
      ({ plan_key }) => plan_key,
    );

  beforeEach(async () => {
    await sql`TRUNCATE signing_keys`.execute(db());
  });

  test("the first key stays, also through a restart, and a coordinator with another one is told what to do", async () => {
    await use(OLD);
    await home.reopen();
    await use(OLD);
    await expect(use(NEW)).rejects.toThrow(
      new RegExp(`signed with the key ${OLD}, .* has ${NEW},.*--signing-key.*FLEAD_PLAN_KEY_BEFORE=${OLD}`),
    );
    expect(await inForce()).toEqual([OLD]);
  });

  test("of two coordinators that come first at once, one sets the key", async () => {
    const outcomes = await Promise.allSettled([use(OLD), use(NEW)]);
    expect(outcomes.map(({ status }) => status).sort()).toEqual(["fulfilled", "rejected"]);
    expect(await inForce()).toHaveLength(1);
  });

  test("a key is changed by naming the one before, with an audit row, and back again; saying so once more changes nothing", async () => {
    await use(OLD);
    await expect(use(NEW, OTHER)).rejects.toThrow(/signed with the key/);
    await use(NEW, OLD);
    await use(NEW, OLD);
    expect(await inForce()).toEqual([NEW]);
    await expect(use(OLD)).rejects.toThrow(/signed with the key/);
    await use(OLD, NEW);
    expect(await inForce()).toEqual([OLD]);
    const audit = db().selectFrom("audit_log").select(["subject", "detail"]).where("action", "=", "signing_key.change");
    expect(await audit.orderBy("id").execute()).toEqual([
      { subject: `signing-key/${NEW}`, detail: { before: OLD } },
      { subject: `signing-key/${OLD}`, detail: { before: NEW } },
    ]);
  });
});
