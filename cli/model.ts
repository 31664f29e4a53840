// `flead model`: a cohort's versions and what an operator does with them, over a coordinator's REST API.
import { Command } from "commander";
import { callApi } from "./rest.ts";
import { textTable } from "./text-table.ts";
import { wholeNumber } from "./usage.ts";

interface Model {
  readonly globalVersion: number;
  readonly parentVersion: number | null;
  readonly originVersion: number | null;
  readonly planId: string;
  readonly status: string;
  readonly weights: string;
  readonly rule: string;
  readonly actor: string | null;
  readonly reason: string | null;
  readonly createdAt: string;
}

interface Lineage {
  readonly model: Model;
  readonly round: {
    readonly roundId: number;
    readonly verdict: string;
    readonly reason: string;
    readonly heldOut: { readonly n: number; readonly f1: number | null; readonly prAuc: number | null } | null;
  } | null;
  readonly gateways: readonly Gateway[] | null;
  readonly streams: readonly Stream[] | null;
  readonly parents: { readonly items: readonly Model[]; readonly nextCursor: string | null };
}

interface Gateway {
  readonly gatewayId: string;
  readonly updates: number;
  readonly samples: number;
  readonly share: number;
  readonly part: string | null;
}

type Stream = { readonly stream: string } & Readonly<Record<"n" | "tp" | "fp" | "tn" | "fn", number>>;

interface Standing {
  readonly cohort: string;
  readonly championVersion: number;
  readonly pin: { readonly by: string; readonly reason: string } | null;
}

interface Options {
  readonly url: string;
  readonly json?: boolean;
}

type Order = Options & { readonly reason: string; readonly champion?: number };

const version = wholeNumber(1, Number.MAX_SAFE_INTEGER);

export function modelCommand(): Command {
  return new Command("model")
    .description("Show a cohort's versions; promote, roll back or pin them.")
    .addCommand(
      subcommand("list", "List a cohort's newest versions.")
        .option("--limit <n>", "how many", wholeNumber(1, 200), 20)
        .action(listModels),
    )
    .addCommand(withVersion(subcommand("show", "Show what a version was made from.")).action(showModel))
    .addCommand(change("promote", "Make a new champion with the weights of a candidate or rejected version."))
    .addCommand(change("roll-back", "Make a new champion with the weights of an earlier one."))
    .addCommand(pin("pin", "Keep the champion, whatever rounds bring."))
    .addCommand(pin("unpin", "Let rounds replace the champion again."));
}

const subcommand = (name: string, description: string) =>
  new Command(name)
    .description(description)
    .argument("<cohort>")
    .option("--url <url>", "the coordinator's REST API", "http://127.0.0.1:8080")
    .option("--json", "print the answer as JSON")
    .exitOverride();

const withVersion = (command: Command) => command.argument("<version>", "global version", version);

const withOrder = (command: Command) =>
  command
    .requiredOption("--reason <text>", "why; it is kept with the version and in the audit log")
    .option("--champion <version>", "only if this version is the champion", version);

const change = (kind: "promote" | "roll-back", description: string) =>
  withOrder(withVersion(subcommand(kind, description))).action((cohort: string, of: number, order: Order) =>
    act(`models/${encodeURIComponent(cohort)}/${of}/${kind}`, order),
  );

const pin = (kind: "pin" | "unpin", description: string) =>
  withOrder(subcommand(kind, description)).action((cohort: string, order: Order) =>
    act(`cohorts/${encodeURIComponent(cohort)}/${kind}`, order),
  );

async function act(path: string, { url, json, reason, champion }: Order): Promise<void> {
  const standing = await callApi<Standing>(url, `/api/v1/${path}`, { reason, champion });
  const { cohort, championVersion, pin: pinned } = standing;
  const by = pinned ? `, pinned by ${pinned.by}: ${pinned.reason}` : "";
  print(json ? standing : `cohort ${cohort}: the champion is version ${championVersion}${by}`);
}

async function listModels(cohort: string, { url, json, limit }: Options & { limit: number }): Promise<void> {
  const query = new URLSearchParams({ cohort, limit: String(limit) });
  const { items } = await callApi<{ items: Model[] }>(url, `/api/v1/models?${query}`);
  if (items.length === 0 && !json) throw new Error(`there is no cohort ${cohort}`);
  print(json ? items : textTable([MODEL_HEADING, ...items.map(modelRow)]));
}

async function showModel(cohort: string, of: number, { url, json }: Options): Promise<void> {
  const lineage = await callApi<Lineage>(url, `/api/v1/models/${encodeURIComponent(cohort)}/${of}/lineage`);
  print(json ? lineage : lineageText(lineage));
}

function print(answer: object | string): void {
  process.stdout.write(`${typeof answer === "string" ? answer : JSON.stringify(answer, null, 2)}\n`);
}

const MODEL_HEADING = ["version", "status", "parent", "origin", "weights", "made", "by", "reason"];
const NONE = "-";

function modelRow(model: Model): string[] {
  const { globalVersion, status, parentVersion, originVersion, weights, createdAt, actor, reason, rule } = model;
  const numbers = [parentVersion, originVersion].map((other) => other?.toString() ?? NONE);
  return [String(globalVersion), status, ...numbers, weights, createdAt, actor ?? rule, reason ?? NONE];
}

function lineageText({ model, round, gateways, streams, parents }: Lineage): string {
  const measured = round?.heldOut;
  const parts = [
    textTable([MODEL_HEADING, modelRow(model)]),
    `plan ${model.planId}`,
    round
      ? `round ${round.roundId}: ${round.verdict}; ${round.reason}`
      : "no round made its weights: they are the plan's initial ones",
    measured
      ? `held-out: n ${measured.n}, F1 ${shown(measured.f1)}, PR-AUC ${shown(measured.prAuc)}`
      : "held-out: not evaluated",
    streams && textTable([["stream", "n", "tp", "fp", "tn", "fn"], ...streams.map(streamRow)]),
    gateways && textTable([["gateway", "updates", "samples", "share", "part"], ...gateways.map(gatewayRow)]),
    parents.items.length > 0 ? `parents\n${textTable([MODEL_HEADING, ...parents.items.map(modelRow)])}` : null,
    parents.nextCursor && "… and older ones",
  ];
  return parts.filter((part) => part !== null).join("\n\n");
}

const shown = (value: number | null) => value?.toFixed(3) ?? "not evaluated";

const streamRow = ({ stream, n, tp, fp, tn, fn }: Stream) => [stream, ...[n, tp, fp, tn, fn].map(String)];

const gatewayRow = ({ gatewayId, updates, samples, share, part }: Gateway) => [
  gatewayId,
  String(updates),
  String(samples),
  share.toFixed(4),
  part ?? "not known",
];
