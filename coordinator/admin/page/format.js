// Numbers and times as a person reads them. What was not measured says so and never becomes a number.
import { el } from "./dom.js";

const whole = new Intl.NumberFormat("en", { maximumFractionDigits: 0 });
const clock = new Intl.DateTimeFormat("en-GB", { dateStyle: "medium", timeStyle: "medium" });

export const notEvaluated = () => el("span.absent", "not evaluated");
export const notReported = () => el("span.absent", "not reported");

/** @param {number | null | undefined} value */
export const decimals = (value, digits = 3) => (typeof value === "number" ? value.toFixed(digits) : null);

/** @param {number | null | undefined} value */
export const score = (value) => decimals(value) ?? notEvaluated();

/** @param {number | null | undefined} value */
export const count = (value) => (typeof value === "number" ? whole.format(value) : notReported());

export const percent = (value) => `${Math.round(value * 100)} %`;
export const factor = (value) => `×${value.toFixed(2)}`;
export const signed = (value) => `${value < 0 ? "−" : "+"}${Math.abs(value).toFixed(3)}`;

/** At most four significant digits, without an exponent for what a sensor measures. */
export const measured = (value) => String(Number(value.toPrecision(4)));

/** @param {number | null | undefined} value */
export function bytes(value) {
  if (typeof value !== "number") return notReported();
  const units = ["B", "kB", "MB", "GB"];
  const step = Math.min(units.length - 1, value < 1 ? 0 : Math.floor(Math.log10(value) / 3));
  return `${Number((value / 1000 ** step).toPrecision(3))} ${units[step]}`;
}

/** @param {number} ms */
export function duration(ms) {
  const seconds = Math.max(0, Math.round(ms / 1000));
  if (seconds < 60) return `${seconds} s`;
  if (seconds < 3600) return `${Math.floor(seconds / 60)} min`;
  if (seconds < 86_400) return `${Math.floor(seconds / 3600)} h`;
  return `${Math.floor(seconds / 86_400)} d`;
}

/** A `time` element that `tick` keeps true. @param {string} iso */
export function ago(iso, before = "", after = " ago") {
  const element = el("time");
  element.dateTime = iso;
  element.title = clock.format(new Date(iso));
  element.dataset.before = before;
  element.dataset.after = after;
  return tickOne(element);
}

export const timeOfDay = (ms) => new Date(ms).toLocaleTimeString("en-GB");

/** Brings every relative time of the page up to date. */
export function tick() {
  for (const element of document.querySelectorAll("time[data-after]"))
    tickOne(/** @type {HTMLTimeElement} */ (element));
}

function tickOne(element) {
  const text = element.dataset.before + duration(Date.now() - Date.parse(element.dateTime)) + element.dataset.after;
  if (element.textContent !== text) element.textContent = text;
  return element;
}
