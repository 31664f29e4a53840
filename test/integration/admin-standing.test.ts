import { sql } from "kysely";
import { describe, expect, test } from "vitest";
import { adminSite } from "../support/admin-site.ts";
import { minutes } from "../support/fleet-rows.ts";
import type { Json } from "../support/json.ts";

const site = adminSite();

describe("a gateway's standing", () => {
  const reset = (gateway: string, body: string, type = "application/json") =>
    fetch(`${site.url}/api/v1/gateways/${gateway}/standing/reset`, {
      method: "POST",
      headers: { "content-type": type },
      body,
    });
  const audited = () =>
    site.database.kysely.selectFrom("audit_log").select(["actor", "action", "subject", "detail"]).execute();
  const pumps = JSON.stringify({ cohort: "pumps" });

  test("is shown with its reason, counts whole after a reset, and that is in the audit log once", async () => {
    await sql`INSERT INTO gateway_standings (gateway_id, cohort, standing, rounds_apart, reason, changed_at)
      VALUES ('gw-2', 'pumps', 0.64, 2, 'it pulled against the others', ${minutes(5)})`.execute(site.database.kysely);
    const shown = async () =>
      (await site.get("/api/v1/gateways?cohort=pumps")).body.items.find((item: Json) => item.gatewayId === "gw-2")
        .cohorts;
    expect(await shown()).toMatchObject([
      {
        standing: 0.64,
        standingReason: "it pulled against the others",
        standingChangedAt: minutes(5).toISOString(),
      },
    ]);
    for (let time = 0; time < 2; time++) {
      const response = await reset("gw-2", pumps);
      expect([response.status, await response.json()]).toEqual([200, { standing: 1 }]);
    }
    expect(await shown()).toMatchObject([{ standing: 1, standingReason: null }]);
    expect(await audited()).toEqual([
      {
        actor: "admin (loopback)",
        action: "gateway.standing_reset",
        subject: "cohort/pumps/gateway/gw-2",
        detail: { from: 0.64, to: 1 },
      },
    ]);
  });

  test.each([
    ["a gateway that is not there", "gw-99", pumps, "application/json", 404],
    ["a cohort that is not there", "gw-2", JSON.stringify({ cohort: "no" }), "application/json", 404],
    ["a gateway that is no name", "gw%20x", pumps, "application/json", 400],
    ["no cohort", "gw-2", "{}", "application/json", 422],
    ["a form of another site's page", "gw-2", pumps, "text/plain", 415],
  ])("%s is a problem and changes nothing", async (_, gateway, body, type, status) => {
    const before = await audited();
    const response = await reset(gateway, body, type);
    expect(response.status).toBe(status);
    expect(response.headers.get("content-type")).toMatch(/^application\/problem\+json/);
    expect(await audited()).toEqual(before);
  });

  test("what of a request is wrong is named", async () => {
    const detail = async (response: Response) => ((await response.json()) as Json).detail;
    expect(await detail(await reset("gw-2", '{"cohort":"pumps","all":true}'))).toBe(
      'the body: Unrecognized key: "all"',
    );
    expect(await detail(await reset("gw-2", pumps, "text/plain"))).toBe("the content type must be application/json");
    const plans = `${site.url}/api/v1/plans`;
    const plan = await fetch(plans, {
      method: "POST",
      headers: { "content-type": "text/plain" },
      body: "cohort: pumps",
    });
    expect(await detail(plan)).toBe("the content type must be application/yaml");
  });
});
