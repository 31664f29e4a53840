// The tables: rounds, versions, live streams, episodes, gateways.
import { el, empty, stacked, table } from "./dom.js";
import {
  ago,
  bytes,
  count,
  decimals,
  factor,
  measured,
  notEvaluated,
  notReported,
  percent,
  score,
  signed,
} from "./format.js";

const SHOWN_CONTRIBUTORS = 3;
const SHOWN_DEVICES = 4;

/** A word with a sign of its own, so that colour says nothing alone. */
const badge = (kind, sign, word) => {
  const mark = el("span", sign);
  mark.setAttribute("aria-hidden", "true");
  const element = el("span.badge", mark, word);
  element.dataset.kind = kind;
  return element;
};

export function roundsTable(rounds, seen) {
  if (rounds.length === 0) {
    return empty(
      "No round has closed yet",
      "A round closes when enough updates have come from enough gateways, or at its deadline.",
    );
  }
  const view = table("Rounds, the newest first", ROUND_COLUMNS, rounds);
  view.querySelectorAll("tbody tr").forEach((row, n) => {
    if (seen !== null && rounds[n].roundId > seen) row.classList.add("fresh");
  });
  return view;
}

const VERDICT_BADGES = { promoted: ["good", "✓"], rejected: ["bad", "✕"], candidate: ["quiet", "○"] };

const ROUND_COLUMNS = [
  {
    label: "Version",
    kind: "title",
    cell: (round) => stacked(`v${round.globalVersion}`, `from v${round.baseVersion}`),
  },
  {
    label: "Verdict",
    cell: (round) => badge(...VERDICT_BADGES[round.verdict], round.verdict),
  },
  { label: "F1", kind: "number", cell: (round) => against(round, "f1") },
  { label: "PR-AUC", kind: "number", cell: (round) => against(round, "prAuc") },
  { label: "VUS-PR", kind: "number", cell: (round) => against(round, "vusPr") },
  { label: "Events found", cell: (round) => events(round.heldOut?.events) },
  { label: "Precision", kind: "number", cell: (round) => precisionOverRecall(round.heldOut) },
  { label: "Loss", kind: "number", cell: (round) => score(round.heldOut?.loss) },
  { label: "Updates", kind: "number", cell: (round) => stacked(count(round.updates), `${round.gateways} gateways`) },
  { label: "Rows", kind: "number", cell: (round) => count(round.samples) },
  { label: "Rate", kind: "number", cell: (round) => factor(round.learningRateFactor) },
  { label: "Closed", cell: (round) => ago(round.closedAt) },
  { label: "Reason", kind: "wide", cell: (round) => round.reason },
];

/** The candidate's score and how far it lies from the champion's on the same windows. */
function against(round, metric) {
  const candidate = round.heldOut?.[metric];
  const champion = round.championHeldOut?.[metric];
  if (typeof candidate !== "number") return notEvaluated();
  if (typeof champion !== "number") return decimals(candidate);
  const difference = candidate - champion;
  const element = stacked(decimals(candidate), signed(difference));
  element.lastChild.dataset.trend = difference < 0 ? "down" : "up";
  element.title = `champion ${decimals(champion)}`;
  return element;
}

/** Of rows, not of events. */
const precisionOverRecall = (scores) =>
  scores ? stacked(score(scores.precision), el("span", "recall ", score(scores.recall))) : notEvaluated();

/** Labelled events found, and the alarm episodes that were about none. */
function events(scores) {
  if (!scores) return notEvaluated();
  const { precision, recall } = scores;
  const element = stacked(`${scores.detectedEvents} of ${scores.events}`, alarms(scores));
  element.title = `episode precision ${decimals(precision) ?? "unknown"}, recall ${decimals(recall) ?? "unknown"}`;
  return element;
}

function alarms({ episodes, trueEpisodes, delayMedianS }) {
  const falseOnes = episodes - trueEpisodes;
  const delay = typeof delayMedianS === "number" ? `, delay ${measured(delayMedianS)} s` : "";
  return `${falseOnes} false ${falseOnes === 1 ? "episode" : "episodes"}${delay}`;
}

export function modelsTable(models, championVersion) {
  if (models.length === 0) return empty("No version yet", "A cohort begins with its plan's initial weights.");
  return table("Versions, the newest first", modelColumns(championVersion), models);
}

const STATUS_BADGES = {
  champion: ["good", "✓"],
  pinned: ["good", "◆"],
  candidate: ["quiet", "○"],
  rejected: ["bad", "✕"],
  rolled_back: ["bad", "↺"],
};

const modelColumns = (championVersion) => [
  {
    label: "Version",
    kind: "title",
    cell: ({ globalVersion, parentVersion }) =>
      stacked(`v${globalVersion}`, parentVersion === null ? "the first" : `after v${parentVersion}`),
  },
  { label: "Status", cell: (model) => modelStatus(model, championVersion) },
  {
    label: "Weights",
    cell: ({ originVersion, weights }) =>
      stacked(originVersion === null ? "its own" : `of v${originVersion}`, weights.replaceAll("_", " ")),
  },
  { label: "Made by", cell: ({ actor, rule }) => actor ?? rule.replaceAll("_", " ") },
  { label: "Made", cell: ({ createdAt }) => ago(createdAt) },
  { label: "Reason", kind: "wide", cell: ({ reason }) => reason ?? el("span.absent", "the plan's initial weights") },
];

/** Whoever was champion keeps the word; only one is. */
function modelStatus({ globalVersion, status }, championVersion) {
  if (status === "champion" && globalVersion !== championVersion) return badge("quiet", "✓", "was champion");
  return badge(...STATUS_BADGES[status], status.replaceAll("_", " "));
}

const SEVERITY_SIGNS = { critical: "▲", major: "◆", minor: "●" };

export function episodesTable(episodes) {
  if (episodes.length === 0) return empty("No episode", "Anomalies appear here as the gateways report them.");
  const activeFirst = [...episodes].sort((a, b) => Number(b.state === "active") - Number(a.state === "active"));
  return table("Episodes, the active ones first", EPISODE_COLUMNS, activeFirst);
}

const EPISODE_COLUMNS = [
  { label: "Device", kind: "title", cell: (episode) => stacked(episode.deviceId, episode.gatewayId) },
  { label: "Severity", cell: (episode) => badge(episode.severity, SEVERITY_SIGNS[episode.severity], episode.severity) },
  {
    label: "State",
    cell: (episode) => (episode.state === "active" ? badge("active", "●", "active") : badge("quiet", "○", "cleared")),
  },
  { label: "Confidence", kind: "number", cell: (episode) => percent(episode.confidence) },
  {
    label: "Score",
    kind: "number",
    cell: (episode) => stacked(decimals(episode.score, 2), `over ${decimals(episode.threshold, 2)}`),
  },
  { label: "Contributors", kind: "wide", cell: contributors },
  { label: "Windows", kind: "number", cell: (episode) => count(episode.count) },
  { label: "Model", cell: (episode) => stacked(episode.modelKind.replaceAll("_", " "), `v${episode.globalVersion}`) },
  { label: "Started", cell: (episode) => ago(episode.startedAt) },
];

function contributors({ contributors: all }) {
  const shown = [...all].sort((a, b) => b.share - a.share).slice(0, SHOWN_CONTRIBUTORS);
  if (shown.length === 0) return notReported();
  const lines = shown.map(({ channel, share, value, expected: [low, high], unit }) =>
    el(
      "li",
      el("strong", channel),
      ` ${percent(share)} `,
      el("span.muted", `${measured(value)} ${unit}, expected ${measured(low)}–${measured(high)}`),
    ),
  );
  return el("ul.plain", ...lines);
}

export const driftTable = (streams) =>
  table("Live streams, and how the champion fares on them", DRIFT_COLUMNS, streams);

const DRIFT_BADGES = { steady: ["good", "●"], drifted: ["bad", "▼"], "not evaluated": ["quiet", "○"] };

const DRIFT_COLUMNS = [
  { label: "Stream", kind: "title", cell: ({ device, windows }) => stacked(device, `${windows} windows`) },
  {
    label: "Champion",
    kind: "wide",
    cell: ({ state, why }) =>
      el("div.stacked", badge(...DRIFT_BADGES[state], state), why === null ? null : el("span.muted.small", why)),
  },
  { label: "Quality", kind: "number", cell: ({ quality }) => score(quality) },
  { label: "At first", kind: "number", cell: ({ reference }) => score(reference) },
  {
    label: "Labelled rows",
    kind: "number",
    cell: ({ labelledRows, rows }) => stacked(count(labelledRows), `of ${count(rows)}`),
  },
  {
    label: "Came too late",
    kind: "number",
    cell: ({ lateRows, lateLabels }) => stacked(`${count(lateRows)} rows`, `${count(lateLabels)} labels`),
  },
  {
    label: "Last window",
    cell: ({ lastWindowEnd }) => (lastWindowEnd === null ? el("span.absent", "none yet") : ago(lastWindowEnd)),
  },
];

export function gatewaysTable(gateways, cohort) {
  if (gateways.length === 0)
    return empty(
      "No gateway yet",
      "Start one: flead agent, with FLEAD_COORDINATOR set to this coordinator’s gRPC address.",
    );
  return table("Gateways, the newest first", gatewayColumns(cohort), gateways);
}

function gatewayColumns(cohort) {
  const held = (gateway) => gateway.cohorts.find((of) => of.cohort === cohort);
  const version = (gateway) => held(gateway)?.globalVersion;
  return [
    { label: "Gateway", kind: "title", cell: (gateway) => stacked(gateway.gatewayId, gateway.site) },
    { label: "Presence", cell: presence },
    { label: "Devices", cell: (gateway) => devices(held(gateway)?.devices ?? []) },
    {
      label: "Model",
      kind: "number",
      cell: (gateway) => (version(gateway) ? model(held(gateway)) : el("span.absent", "none yet")),
    },
    { label: "Voice", cell: (gateway) => standing(held(gateway)) },
    { label: "Rows", kind: "number", cell: ({ health }) => qualified(health?.rows, health?.rowsRefused, "refused") },
    {
      label: "Updates trained",
      kind: "number",
      cell: ({ health }) => qualified(health?.updatesTrained, health?.samplesTrained, "rows"),
    },
    { label: "Outbox", kind: "number", cell: ({ health }) => outbox(health) },
    { label: "Memory", kind: "number", cell: ({ health }) => bytes(health?.rssBytes) },
    { label: "Agent", cell: (gateway) => gateway.agentVersion },
  ];
}

function presence(gateway) {
  const shown = gateway.connected ? badge("good", "●", "connected") : badge("quiet", "○", "offline");
  return el("div.stacked", shown, el("span.muted.small", ago(gateway.lastSeenAt, "seen ")));
}

/** The active version; beside it the champion that the gateway does not use, and why. */
function model({ globalVersion, candidate }) {
  if (candidate === null) return `v${globalVersion}`;
  const why = candidate.trial === null ? "rolled back from" : "did worse here";
  return stacked(`v${globalVersion}`, `v${candidate.globalVersion} waits: ${why}`);
}

/** What the gateway's voice counts for in rounds, and why it is not the full one. */
function standing(held) {
  if (!held) return "";
  if (held.standing === 1) return badge("good", "●", "full");
  const shown = badge("bad", "▼", factor(held.standing));
  return el("div.stacked", shown, el("span.muted.small", held.standingReason ?? ""));
}

function devices(names) {
  const rest = names.length - SHOWN_DEVICES;
  return stacked(
    String(names.length),
    names.slice(0, SHOWN_DEVICES).join(", ") + (rest > 0 ? ` and ${rest} more` : ""),
  );
}

const qualified = (value, second, word) =>
  typeof second === "number" ? stacked(count(value), `${second.toLocaleString("en")} ${word}`) : count(value);

function outbox(health) {
  const dropped = health?.outboxDropped;
  return dropped
    ? stacked(bytes(health.outboxBytes), `${dropped.toLocaleString("en")} dropped`)
    : bytes(health?.outboxBytes);
}
