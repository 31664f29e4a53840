// Held-out scores over versions: the champion's line, each candidate, and the trivial baselines to beat. Axis 0 to 1.
import { el, svg } from "./dom.js";
import { decimals } from "./format.js";

const HEIGHT = 232;
const MARGIN = { top: 14, right: 126, bottom: 30, left: 34 };
const LABEL_GAP = 14;
const BASELINES = [
  ["zScore", "z-score"],
  ["alwaysAlarm", "always alarm"],
  ["alwaysNormal", "always normal"],
];

/** Redraws whenever its box changes. @returns {{element: HTMLElement, show: (rounds: object[]) => void}} */
export function chart(title, metric) {
  const box = el("div.plot");
  const tip = el("div.tip");
  tip.hidden = true;
  const element = el("figure.chart", el("figcaption", title), box, tip);
  let rounds = [];
  const draw = () => {
    if (box.clientWidth > 0) box.replaceChildren(plot(title, metric, rounds, box.clientWidth, tip));
  };
  new ResizeObserver(draw).observe(box);
  return {
    element,
    /** @param {object[]} shown newest first */
    show: (shown) => {
      rounds = [...shown].reverse();
      draw();
    },
  };
}

function plot(title, metric, rounds, width, tip) {
  const scale = scales(rounds.length, width);
  const label = `${title} of ${rounds.length} versions; the table of rounds holds the figures`;
  const root = svg("svg", {
    width,
    height: HEIGHT,
    viewBox: `0 0 ${width} ${HEIGHT}`,
    role: "img",
    "aria-label": label,
  });
  root.append(...axis(scale), ...versions(rounds, scale), ...baselines(metric, rounds, scale));
  if (rounds.length === 0) {
    root.append(
      svg(
        "text",
        { class: "waiting", x: (scale.left + scale.right) / 2, y: scale.y(0.5), "text-anchor": "middle" },
        "nothing evaluated yet",
      ),
    );
    return root;
  }
  root.append(
    ...championLine(metric, rounds, scale),
    ...rounds.flatMap((round, n) => candidate(metric, round, scale.x(n), scale)),
  );
  hover(root, metric, rounds, scale, tip);
  return root;
}

function scales(length, width) {
  const left = MARGIN.left;
  const right = Math.max(left + 40, width - MARGIN.right);
  const bottom = HEIGHT - MARGIN.bottom;
  const inset = Math.min(18, (right - left) / 4);
  const step = length > 1 ? (right - left - 2 * inset) / (length - 1) : 0;
  const x = (n) => (length > 1 ? left + inset + n * step : (left + right) / 2);
  return { left, right, bottom, step, x, y: (value) => bottom - value * (bottom - MARGIN.top) };
}

function axis({ left, right, y }) {
  return [0, 0.25, 0.5, 0.75, 1].flatMap((value) => [
    svg("path", { class: value === 0 ? "axis" : "grid", d: `M${left} ${y(value)}H${right}` }),
    svg(
      "text",
      { class: "tick", x: left - 7, y: y(value) + 4, "text-anchor": "end" },
      value === 0 || value === 1 ? String(value) : value.toFixed(2),
    ),
  ]);
}

function versions(rounds, { x, bottom, step }) {
  const every = step > 0 ? Math.ceil(34 / step) : 1;
  return rounds.flatMap((round, n) =>
    (rounds.length - 1 - n) % every === 0
      ? [svg("text", { class: "tick", x: x(n), y: bottom + 19, "text-anchor": "middle" }, `v${round.globalVersion}`)]
      : [],
  );
}

function baselines(metric, rounds, { left, right, y }) {
  const scores = rounds.findLast((round) => round.baselines)?.baselines;
  const lines = BASELINES.map(([key, name]) => ({ name, value: scores?.[key][metric] }))
    .filter(({ value }) => typeof value === "number")
    .sort((a, b) => b.value - a.value);
  let above = -Infinity;
  return lines.flatMap(({ name, value }) => {
    above = Math.max(y(value) + 4, above + LABEL_GAP);
    return [
      svg("path", { class: "baseline", d: `M${left} ${y(value)}H${right}` }),
      svg("text", { class: "baseline-label", x: right + 6, y: above }, `${name} ${decimals(value, 2)}`),
    ];
  });
}

/** The champion in force after each round, broken where it was not evaluated. */
function championLine(metric, rounds, { x, y }) {
  let pen = "M";
  let path = "";
  rounds.forEach((round, n) => {
    const value = (round.verdict === "promoted" ? round.heldOut : round.championHeldOut)?.[metric];
    if (typeof value === "number") path += `${pen}${x(n)} ${y(value)}`;
    pen = typeof value === "number" ? "L" : "M";
  });
  return path ? [svg("path", { class: "champion-line", d: path })] : [];
}

function candidate(metric, round, x, { y, bottom }) {
  const value = round.heldOut?.[metric];
  if (typeof value !== "number") return [svg("path", { class: "unmeasured", d: `M${x - 4} ${bottom - 10}h8v8h-8z` })];
  const interval = metric === "f1" ? round.heldOut.f1Interval : null;
  const marks = interval ? [svg("path", { class: "interval", d: `M${x} ${y(interval[0])}V${y(interval[1])}` })] : [];
  if (round.verdict !== "rejected")
    return [...marks, svg("circle", { class: round.verdict, cx: x, cy: y(value), r: 4.5 })];
  const champion = round.championHeldOut?.[metric];
  if (typeof champion === "number") marks.push(svg("path", { class: "fall", d: `M${x} ${y(champion)}V${y(value)}` }));
  return [...marks, svg("path", { class: "rejected", d: `M${x - 4.5} ${y(value) - 4.5}l9 9m0-9l-9 9` })];
}

function hover(root, metric, rounds, scale, tip) {
  const cursor = svg("path", { class: "cursor", d: "" });
  root.prepend(cursor);
  root.addEventListener("pointermove", (event) => {
    const at = event.clientX - root.getBoundingClientRect().left;
    const n = scale.step > 0 ? Math.round((at - scale.x(0)) / scale.step) : 0;
    const nearest = Math.min(rounds.length - 1, Math.max(0, n));
    cursor.setAttribute("d", `M${scale.x(nearest)} ${MARGIN.top}V${scale.bottom}`);
    tip.replaceChildren(...tipLines(metric, rounds[nearest]));
    tip.hidden = false;
    tip.style.left = `${Math.min(scale.x(nearest) + 10, root.clientWidth - tip.offsetWidth)}px`;
  });
  root.addEventListener("pointerleave", () => {
    tip.hidden = true;
    cursor.setAttribute("d", "");
  });
}

function tipLines(metric, round) {
  const line = (name, value) => el("p", el("span.muted", `${name} `), decimals(value) ?? "not evaluated");
  return [
    el("p", el("strong", `v${round.globalVersion}`), ` ${round.verdict}`),
    line("candidate", round.heldOut?.[metric]),
    line("champion", round.championHeldOut?.[metric]),
  ];
}
