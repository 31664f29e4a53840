// The page: asks the coordinator again and again, redraws what changed, and says so when no answer comes.
import { chart } from "./chart.js";
import { el, empty } from "./dom.js";
import { duration, tick, timeOfDay } from "./format.js";
import { summary } from "./summary.js";
import { driftTable, episodesTable, gatewaysTable, modelsTable, roundsTable } from "./tables.js";

const NEWS = { promoted: "was promoted", rejected: "was rejected", candidate: "remains a candidate" };
const POLL_MS = 1_500;
const ANSWER_MS = 5_000;
const PAGE_ROWS = 50;
const MAX_ROWS = 200;

const byId = (id) => document.getElementById(id);
const limits = { rounds: PAGE_ROWS, models: PAGE_ROWS, episodes: PAGE_ROWS, gateways: PAGE_ROWS };
const charts = [chart("F1", "f1"), chart("PR-AUC", "prAuc")];
let answeredAt = null;
let newestRound = null;
let again = () => undefined;

async function ask(path, accepted = [200]) {
  const response = await fetch(`/api/v1/${path}`, { signal: AbortSignal.timeout(ANSWER_MS) });
  const body = await response.json();
  if (!accepted.includes(response.status)) throw new Error(body.detail ?? `${path} answered ${response.status}`);
  return body;
}

async function refresh() {
  const health = await ask("health", [200, 503]);
  if (health.database === "down") throw new Error("The coordinator answers, but its database does not.");
  showCohorts(health.cohorts.map(({ cohort }) => cohort));
  const overview = health.cohorts.find(({ cohort }) => cohort === byId("cohort").value) ?? null;
  byId("version").textContent = health.version;
  if (overview === null) return showNothing();
  const cohort = encodeURIComponent(overview.cohort);
  const list = (name) => ask(`${name}?cohort=${cohort}&limit=${limits[name]}`);
  const asked = Object.keys(limits).map(async (name) => [name, await list(name)]);
  const [drift, ...pages] = await Promise.all([ask(`drift?cohort=${cohort}`), ...asked]);
  if (overview.cohort !== byId("cohort").value) return; // another was chosen meanwhile
  show(overview, Object.fromEntries(pages), drift.items);
}

function show(overview, pages, streams) {
  const { rounds, models, episodes, gateways } = pages;
  document.title = `FLEAD · ${overview.cohort} v${overview.championVersion}`;
  const { cohort, championVersion } = overview;
  drawIfChanged("summary", [overview, rounds.items, models.items, gateways, episodes], () =>
    summary(overview, rounds.items, models.items, gateways, episodes),
  );
  drawIfChanged("rounds", [cohort, rounds.items], () => [roundsTable(rounds.items, newestRound)]);
  drawIfChanged("models", [cohort, championVersion, models.items], () => [modelsTable(models.items, championVersion)]);
  byId("drift-panel").hidden = streams.length === 0;
  drawIfChanged("drift", [cohort, streams], () => [driftTable(streams)]);
  drawIfChanged("episodes", [cohort, episodes.items], () => [episodesTable(episodes.items)]);
  drawIfChanged("gateways", [cohort, gateways.items], () => [gatewaysTable(gateways.items, cohort)]);
  drawIfChanged("charts", [cohort, rounds.items], () => {
    for (const { show: draw } of charts) draw(rounds.items);
    return charts.map(({ element }) => element);
  });
  for (const [name, page] of Object.entries(pages)) {
    byId(`more-${name}`).hidden = page.nextCursor === null || limits[name] >= MAX_ROWS;
  }
  announce(rounds.items[0]);
}

const drawn = new Map();

/** What did not change keeps its nodes, and with them focus, selection and scroll position. */
function drawIfChanged(id, data, draw) {
  const key = JSON.stringify(data);
  if (drawn.get(id) === key) return;
  drawn.set(id, key);
  byId(id).replaceChildren(...draw());
}

function announce(round) {
  if (round === undefined) return;
  if (newestRound !== null && round.roundId > newestRound)
    byId("news").textContent = `Version ${round.globalVersion} ${NEWS[round.verdict]}.`;
  newestRound = round.roundId;
}

function showNothing() {
  drawIfChanged("summary", "nothing", () => [
    el("div.card", empty("No cohort yet", "Give the coordinator a plan: FLEAD_PLANS=pumps.yaml")),
  ]);
}

function showCohorts(names) {
  const select = byId("cohort");
  if (names.join() === [...select.options].map((option) => option.value).join()) return;
  const wanted = decodeURIComponent(location.hash.slice(1)) || select.value;
  select.replaceChildren(...names.map((name) => new Option(name, name)));
  if (names.includes(wanted)) select.value = wanted;
  select.disabled = names.length === 0;
}

function showAnswered() {
  answeredAt = Date.now();
  byId("banner").hidden = true;
  byId("live").dataset.state = "live";
  byId("live-text").textContent = "Live";
}

function showStale(error) {
  const silent = error instanceof TypeError || error.name === "TimeoutError" || error.name === "SyntaxError";
  const reason = silent ? "The coordinator does not answer." : error.message;
  const since =
    answeredAt === null
      ? "Nothing was shown yet."
      : `What you see is from ${timeOfDay(answeredAt)}, ${duration(Date.now() - answeredAt)} ago.`;
  byId("banner").textContent = `${reason} ${since} Trying again …`;
  byId("banner").hidden = false;
  byId("live").dataset.state = "stale";
  byId("live-text").textContent = "No answer";
}

async function poll() {
  for (;;) {
    await refresh().then(showAnswered, showStale);
    tick();
    await new Promise((resolve) => {
      again = resolve;
      setTimeout(resolve, POLL_MS);
    });
    if (document.hidden)
      await new Promise((resolve) => document.addEventListener("visibilitychange", resolve, { once: true }));
  }
}

byId("cohort").addEventListener("change", (event) => {
  location.hash = encodeURIComponent(event.target.value);
  newestRound = null;
  again();
});
for (const name of Object.keys(limits)) {
  byId(`more-${name}`).addEventListener("click", () => {
    limits[name] = Math.min(MAX_ROWS, limits[name] + PAGE_ROWS);
    again();
  });
}
void poll();
