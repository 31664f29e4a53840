import { describe, expect, test } from "vitest";
import { adminOver } from "../support/admin.ts";
import { adminSite } from "../support/admin-site.ts";
import type { Json } from "../support/json.ts";

const site = adminSite();

describe("documentation", () => {
  test("the OpenAPI document lists every route with its answers and names each schema once", async () => {
    const { body } = await site.get("/docs/json");
    expect(body.openapi).toBe("3.1.0");
    const routes = Object.entries<object>(body.paths).flatMap(([path, methods]) =>
      Object.keys(methods).map((method) => `${method} ${path.replace("/api/v1/", "")}`),
    );
    expect(routes.sort()).toEqual([
      "delete held-out-streams/{cohort}/{name}",
      "get analytics/days",
      "get analytics/windows",
      "get drift",
      "get episodes",
      "get gateways",
      "get gateways/{gatewayId}",
      "get health",
      "get held-out-streams",
      "get held-out-streams/{cohort}/{name}",
      "get models",
      "get models/{cohort}/{version}",
      "get models/{cohort}/{version}/evaluations",
      "get models/{cohort}/{version}/lineage",
      "get models/{cohort}/{version}/model.onnx",
      "get plans",
      "get plans/{planId}",
      "get plans/{planId}/dry-runs/{dryRunId}",
      "get replicas",
      "get rounds",
      "get rounds/{roundId}",
      "post analytics/days/{date}",
      "post cohorts/{cohort}/activate",
      "post cohorts/{cohort}/pin",
      "post cohorts/{cohort}/unpin",
      "post gateways/{gatewayId}/commands",
      "post gateways/{gatewayId}/standing/reset",
      "post held-out-streams",
      "post held-out-streams/{cohort}/{name}/freeze",
      "post models/{cohort}/{version}/promote",
      "post models/{cohort}/{version}/roll-back",
      "post plans",
      "post plans/{planId}/dry-run",
    ]);
    expect(JSON.stringify(body)).not.toContain("Input");
    for (const path of ["rounds", "models", "gateways", "episodes"]) {
      const { parameters, responses } = body.paths[`/api/v1/${path}`].get;
      expect(parameters.map((parameter: Json) => parameter.name).sort()).toEqual(["cohort", "cursor", "limit"]);
      expect(responses["200"].content["application/json"].schema.properties).toHaveProperty("nextCursor");
      expect(responses["400"].content).toHaveProperty(["application/problem+json"]);
    }
    const named = [
      "ActivatedPlan",
      "CohortOverview",
      "Day",
      "Drift",
      "DryRun",
      "Episode",
      "Evaluation",
      "EventScores",
      "FleetStatistics",
      "Gateway",
      "Health",
      "HeldOutStream",
      "Lineage",
      "MeasuredDryRun",
      "MeasuredRound",
      "Model",
      "Pin",
      "Plan",
      "PlanDetail",
      "Problem",
      "Replica",
      "Round",
      "Scores",
      "Standing",
      "Trial",
      "UploadedPlan",
      "Window",
    ];
    expect(Object.keys(body.components.schemas).sort()).toEqual(named);
    expect(body.components.schemas.Round.properties).toHaveProperty("championHeldOut");
  });

  test("the documentation's own files come from this server", async () => {
    const page = await (await fetch(`${site.url}/docs/`)).text();
    expect(page).toContain("swagger-ui");
    expect(page).not.toMatch(/(src|href)="(https?:)?\/\//);
    expect((await fetch(`${site.url}/docs/static/swagger-ui-bundle.js`)).status).toBe(200);
  });
});

describe("who may ask", () => {
  test.each(["0.0.0.0", "::", "192.168.1.10", "coordinator.example", "128.0.0.1", "localhost.example"])(
    "listening on %s is refused: there is no log-in",
    async (host) => {
      const starting = adminOver(site.database, { address: { host, port: 0 } });
      await expect(starting).rejects.toThrow(/no log-in.*not a loopback address/);
    },
  );

  test("a port that another program has is named, and for whom it was wanted", async () => {
    const port = Number(new URL(site.url).port);
    const starting = adminOver(site.database, { address: { host: "127.0.0.1", port } });
    await expect(starting).rejects.toThrow(`cannot listen on 127.0.0.1:${port} for people`);
  });

  test.each([
    "attacker.example",
    "attacker.example:8080",
    "127.0.0.1.attacker.example",
    "10.0.0.1",
    "localhost@attacker.example",
  ])("a request for Host %s is refused, so that no page can rebind its name to this machine", async (host) => {
    const { status, type, body } = await site.raw("/api/v1/gateways", host);
    expect(status).toBe(421);
    expect(type).toMatch(/^application\/problem\+json/);
    expect(body).not.toContain("gw-1");
  });

  test.each(["localhost", "LOCALHOST:8080", "127.0.0.1:9", "[::1]:8080"])(
    "a request for Host %s is answered",
    async (host) => {
      expect((await site.raw("/api/v1/health", host)).status).toBe(200);
    },
  );

  test("every answer forbids foreign scripts, framing and sniffing", async () => {
    for (const path of ["/", "/api/v1/health", "/docs/", "/nothing"]) {
      const { headers } = await fetch(site.url + path);
      const policy = headers.get("content-security-policy");
      expect(policy).toContain("default-src 'none'; script-src 'self'; style-src 'self'");
      expect(policy?.includes("unsafe")).toBe(path === "/docs/");
      expect(policy).not.toMatch(/unsafe-eval|script-src[^;]*unsafe/);
      expect(headers.get("x-content-type-options")).toBe("nosniff");
      expect(headers.get("x-frame-options")).toBe("DENY");
      expect(headers.get("access-control-allow-origin")).toBeNull();
    }
  });
});
