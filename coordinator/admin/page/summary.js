// The loop at a glance: champion, its quality, the open round, the learning rate, who is there and what is wrong.
import { el } from "./dom.js";
import { ago, decimals, factor, notEvaluated } from "./format.js";

const card = (label, value, ...below) => el("div.card", el("dt", label), el("dd", el("p.value", value), ...below));
const below = (...parts) => el("p.below", ...parts);

export function summary(overview, rounds, gateways, episodes) {
  const scores = championScores(rounds, overview.championVersion);
  const zScore = rounds.find((round) => round.baselines)?.baselines.zScore ?? null;
  return [
    championCard(overview, rounds),
    scoreCard("Held-out F1", scores?.f1, zScore?.f1, scores?.f1Interval),
    scoreCard("Held-out PR-AUC", scores?.prAuc, zScore?.prAuc, null),
    openRoundCard(overview.openRound),
    factorCard(overview, rounds),
    gatewaysCard(gateways, overview.cohort),
    episodesCard(episodes),
  ];
}

/** The newest measurement of the champion; null: it was never evaluated. */
function championScores(rounds, version) {
  for (const round of rounds) {
    if (round.globalVersion === version) return round.heldOut;
    if (round.baseVersion === version && round.championHeldOut) return round.championHeldOut;
  }
  return null;
}

function championCard({ championVersion }, rounds) {
  const promotion = rounds.find((round) => round.globalVersion === championVersion);
  const rejected = rounds.findIndex((round) => round.verdict === "promoted");
  const since = rejected > 0 ? el("span", ` · ${rejected} rejected since`) : null;
  const origin = promotion ? ago(promotion.closedAt, "promoted ") : "the plan’s initial weights";
  return card("Champion", `v${championVersion}`, below(origin, promotion ? since : null));
}

function scoreCard(label, value, baseline, interval) {
  const range = interval ? below(`95 %: ${decimals(interval[0], 2)} to ${decimals(interval[1], 2)}`) : null;
  const reference = typeof baseline === "number" ? below(`z-score ${decimals(baseline)}`) : null;
  return card(label, decimals(value) ?? notEvaluated(), range, reference);
}

function openRoundCard({ updates, updatesWanted, gateways, gatewaysWanted, openedAt }) {
  const progress = el("progress");
  progress.max = updatesWanted;
  progress.value = updates;
  progress.setAttribute("aria-label", `${updates} of ${updatesWanted} updates`);
  const value = el("span", String(updates), el("span.of", ` of ${updatesWanted} updates`));
  const from = `${gateways} ${gateways === 1 ? "gateway" : "gateways"}, ${gatewaysWanted} needed`;
  const lines = openedAt
    ? [below(from), below(ago(openedAt, "open for ", ""))]
    : [below("waiting for its first update")];
  return card("Open round", value, progress, ...lines);
}

function factorCard({ learningRateFactor }, rounds) {
  const [last, before] = rounds;
  const change = last ? last.learningRateFactor - (before?.learningRateFactor ?? 1) : 0;
  const word = change > 0 ? "▲ raised" : change < 0 ? "▼ lowered" : "unchanged";
  return card(
    "Learning-rate factor",
    factor(learningRateFactor),
    below(last ? `${word} after v${last.globalVersion}` : "of the plan’s rate"),
  );
}

function gatewaysCard({ items, nextCursor }, cohort) {
  const connected = items.filter((gateway) => gateway.connected).length;
  const devices = items.flatMap(({ cohorts }) => cohorts.find((held) => held.cohort === cohort)?.devices ?? []).length;
  const all = nextCursor ? `the newest ${items.length}` : items.length;
  return card(
    "Gateways",
    el("span", String(connected), el("span.of", ` of ${all}`)),
    below(`connected · ${devices} devices`),
  );
}

function episodesCard({ items, nextCursor }) {
  const active = items.filter((episode) => episode.state === "active");
  const critical = active.filter((episode) => episode.severity === "critical").length;
  const among = nextCursor ? ` among the newest ${items.length}` : "";
  return card("Active episodes", String(active.length), below(`${critical > 0 ? critical : "none"} critical${among}`));
}
