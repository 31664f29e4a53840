// Elements made of text, never of markup: nothing that a device or gateway says can become HTML.

/**
 * @param {string} name tag, with classes after dots: "span.muted"
 * @param {...(Node | string | null)} children strings become text nodes; null is left out
 */
export function el(name, ...children) {
  const [tag, ...classes] = name.split(".");
  const element = document.createElement(tag);
  if (classes.length > 0) element.className = classes.join(" ");
  element.append(...children.filter((child) => child !== null));
  return element;
}

/** @param {string} tag @param {Record<string, string | number>} attributes @param {...(Node | string)} children */
export function svg(tag, attributes, ...children) {
  const element = document.createElementNS("http://www.w3.org/2000/svg", tag);
  for (const [name, value] of Object.entries(attributes)) element.setAttribute(name, String(value));
  element.append(...children);
  return element;
}

/**
 * A table that becomes cards on a narrow screen; its roles are said outright because `display` would take them away.
 * @template T
 * @param {string} caption
 * @param {{label: string, kind?: "number" | "wide" | "title", cell: (item: T) => Node | string}[]} columns
 * @param {T[]} items
 */
export function table(caption, columns, items) {
  const head = role("row", el("tr", ...columns.map(({ label, kind }) => role("columnheader", headCell(label, kind)))));
  const body = items.map((item) => role("row", el("tr", ...columns.map((column) => bodyCell(column, item)))));
  const parts = [
    el("caption.visually-hidden", caption),
    role("rowgroup", el("thead", head)),
    role("rowgroup", el("tbody", ...body)),
  ];
  return el("div.scroll", role("table", el("table", ...parts)));
}

function headCell(label, kind) {
  const cell = el(kind === "number" ? "th.number" : "th", label);
  cell.scope = "col";
  return cell;
}

function bodyCell({ label, kind, cell }, item) {
  const element = role(kind === "title" ? "rowheader" : "cell", el(kind === "title" ? "th" : "td", cell(item)));
  if (kind) element.className = kind;
  if (kind === "title") element.scope = "row";
  element.dataset.label = label;
  return element;
}

function role(name, element) {
  element.setAttribute("role", name);
  return element;
}

/** What stands where there is no row yet. */
export const empty = (title, hint) => el("div.empty", el("p.empty-title", title), el("p.muted", hint));

/** Two lines of a cell: what matters, and what qualifies it. */
export const stacked = (first, second) => el("div.stacked", el("span", first), el("span.muted.small", second));
