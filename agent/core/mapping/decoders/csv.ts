// One line of values: `2026-01-01T00:00:00Z;21.5;;4`, with or without quotes.
import { isRefusal } from "../../../../learning/telemetry/refusal.ts";
import { decimal } from "../calibrate.ts";
import { type Decoder, malformed, textOf } from "./text.ts";

/** Values by the names of `columns`, a column without a name is left out; an empty value is none. */
export function csvDecoder(separator: string, columns: readonly (string | null)[]): Decoder {
  return (payload) => {
    const read = textOf(payload);
    if (isRefusal(read)) return read;
    const cells = cellsOf(read.text.replace(/\r?\n$/, ""), separator, columns.length);
    if (cells === null) return malformed("the payload is not one line, or a quote is not closed");
    if (cells.length !== columns.length) {
      const found = cells.length > columns.length ? `more than ${columns.length}` : String(cells.length);
      return malformed(`the line has ${found} values; expected are ${columns.length}`);
    }
    const named = columns.flatMap((name, index) =>
      name === null ? [] : [[name, cellValue(cells[index] ?? "")] as const],
    );
    return { body: Object.fromEntries(named) };
  };
}

function cellValue(cell: string): number | string | null {
  const text = cell.trim();
  return text === "" ? null : (decimal(text) ?? text);
}

/** At most one value more than `expected`; null: not one line of values. */
function cellsOf(line: string, separator: string, expected: number): string[] | null {
  const cells: string[] = [];
  for (let at = 0; at <= line.length && cells.length <= expected; ) {
    const quoted = line[at] === '"';
    const end = quoted ? closingQuote(line, at) + 1 : nextOf(line, separator, at);
    if (end === 0 || (quoted && end < line.length && line[end] !== separator)) return null;
    const cell = quoted ? line.slice(at + 1, end - 1).replaceAll('""', '"') : line.slice(at, end);
    if (!quoted && /["\r\n]/.test(cell)) return null;
    cells.push(cell);
    at = end + 1;
  }
  return cells;
}

const nextOf = (line: string, separator: string, from: number) => {
  const at = line.indexOf(separator, from);
  return at < 0 ? line.length : at;
};

/** -1: there is none. */
function closingQuote(line: string, open: number): number {
  for (let at = open + 1; at < line.length; at++) {
    if (line[at] !== '"') continue;
    if (line[at + 1] !== '"') return at;
    at++;
  }
  return -1;
}
