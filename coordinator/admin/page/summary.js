// The loop at a glance: champion, its quality, the open round, the learning rate, who is there and what is wrong.
import { el } from "./dom.js";
import { ago, decimals, factor, notEvaluated } from "./format.js";

const card = (label, value, ...below) => el("div.card", el("dt", label), el("dd", el("p.value", value), ...below));
const below = (...parts) => el("p.below", ...parts);

export function summary(overview, rounds, models, gateways, episodes) {
  const champion = models.find(({ globalVersion }) => globalVersion === overview.championVersion) ?? null;
  const scores = championScores(rounds, overview.championVersion, champion?.originVersion ?? null);
  const zScore = rounds.find((round) => round.baselines)?.baselines.zScore ?? null;
  return [
    championCard(overview, rounds, champion),
    scoreCard("Held-out F1", scores?.f1, zScore?.f1, scores?.f1Interval),
    scoreCard("Held-out PR-AUC", scores?.prAuc, zScore?.prAuc, null),
    openRoundCard(overview.openRound),
    factorCard(overview, rounds),
    gatewaysCard(gateways, overview.cohort),
    episodesCard(episodes),
  ];
}

/** The newest measurement of the champion's weights; null: they were never evaluated. */
function championScores(rounds, version, origin) {
  for (const round of rounds) {
    if (round.globalVersion === version || round.globalVersion === origin) return round.heldOut;
    if (round.baseVersion === version && round.championHeldOut) return round.championHeldOut;
  }
  return null;
}

function championCard({ championVersion, pin, leaving }, rounds, champion) {
  const promotion = rounds.find((round) => round.globalVersion === championVersion);
  const rejected = rounds.filter(
    (round) => round.baseVersion === championVersion && round.verdict === "rejected",
  ).length;
  const since = promotion && rejected > 0 ? el("span", ` · ${rejected} rejected since`) : null;
  const pinned = pin && below(`pinned by ${pin.by}: ${pin.reason}`);
  const origin = below(championOrigin(promotion, champion), since);
  return card("Champion", `v${championVersion}`, origin, pinned, leaving && leavingLine(leaving));
}

function leavingLine({ planId, championVersion, gateways }) {
  const held = gateways === 1 ? "1 gateway holds" : `${gateways} gateways hold`;
  const line = below(`leaving plan ${planId.slice(0, 12)} (v${championVersion}), which ${held}`);
  line.title = `plan ${planId}`;
  return line;
}

function championOrigin(promotion, champion) {
  if (promotion) return ago(promotion.closedAt, "promoted ");
  if (champion?.actor)
    return el("span", `v${champion.originVersion}’s weights, by ${champion.actor} `, ago(champion.createdAt));
  return "the plan’s initial weights";
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
