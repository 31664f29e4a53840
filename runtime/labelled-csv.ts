// Reads sensor recordings: one header, an optional time column, numeric channels, and labels kept apart from them.
import { parse } from "csv-parse/sync";
import { isLabel, LABEL_COLUMNS } from "../learning/channels.ts";

export interface LabelledCsv {
  /** Names of the channels; label columns are never among them. */
  readonly channels: readonly string[];
  /** One value a channel, every value finite. */
  readonly rows: readonly (readonly number[])[];
  /** Unix time of each row; null without a time column. */
  readonly atMs: readonly number[] | null;
  /** 1 = anomaly; null without a label column. */
  readonly labels: Uint8Array | null;
}

const TIME_COLUMNS = ["datetime", "timestamp", "time"];

export class CsvError extends Error {
  constructor(line: number, message: string) {
    super(`line ${line}: ${message}`);
    this.name = "CsvError";
  }
}

/** Delimiter `,` or `;`, whichever the header has more of. Throws CsvError naming the line, the column and what is allowed. */
export function parseLabelledCsv(text: string): LabelledCsv {
  const records = readRecords(text);
  const header = (records.shift() ?? []).map((name) => name.trim());
  const duplicate = header.find((name, index) => header.indexOf(name) !== index);
  if (duplicate !== undefined) throw new CsvError(1, `column ${JSON.stringify(duplicate)} stands twice`);
  const find = (names: readonly string[]) => header.findIndex((name) => names.includes(name.toLowerCase()));
  const timeColumn = find(TIME_COLUMNS);
  const labelColumn = find(LABEL_COLUMNS);
  const isChannel = (name: string, column: number) => column !== timeColumn && !isLabel(name);
  const channelColumns = header.flatMap((name, column) => (isChannel(name, column) ? [column] : []));
  if (channelColumns.length === 0) throw new CsvError(1, "the header names no channel");

  records.forEach((record, index) => {
    if (record.length !== header.length) {
      throw new CsvError(index + 2, `${record.length} fields, but the header has ${header.length}`);
    }
  });
  const number = (record: readonly string[], index: number, column: number) => {
    const value = record[column]?.trim() ?? "";
    if (value === "" || !Number.isFinite(Number(value))) {
      throw new CsvError(index + 2, `${header[column]} is ${JSON.stringify(value.slice(0, 40))}, not a finite number`);
    }
    return Number(value);
  };
  return {
    channels: channelColumns.map((column) => header[column] as string),
    rows: records.map((record, index) => channelColumns.map((column) => number(record, index, column))),
    atMs: timeColumn < 0 ? null : records.map((record, index) => time(record[timeColumn] ?? "", index + 2)),
    labels:
      labelColumn < 0
        ? null
        : Uint8Array.from(records, (record, index) => label(number(record, index, labelColumn), index + 2)),
  };
}

function readRecords(text: string): string[][] {
  const header = text.slice(0, text.search(/\r?\n|$/));
  const delimiter = header.split(";").length > header.split(",").length ? ";" : ",";
  try {
    return parse(text, { delimiter, bom: true, skip_empty_lines: true, relax_column_count: true });
  } catch (cause) {
    throw new Error(`it is not a CSV file: ${(cause as Error).message}`, { cause });
  }
}

/** ISO 8601 or "YYYY-MM-DD hh:mm:ss", read as UTC where it names no zone; or Unix seconds or milliseconds. */
function time(text: string, line: number): number {
  const given = text.trim();
  const atMs = /^\d+(\.\d+)?$/.test(given)
    ? Number(given) * (Number(given) < 1e11 ? 1000 : 1)
    : Date.parse(/[zZ]|[+-]\d\d:?\d\d$/.test(given) ? given : `${given.replace(" ", "T")}Z`);
  if (!Number.isFinite(atMs)) throw new CsvError(line, `${JSON.stringify(given.slice(0, 40))} is not a time`);
  return atMs;
}

function label(value: number, line: number): 0 | 1 {
  if (value !== 0 && value !== 1) throw new CsvError(line, `label ${value}; allowed are 0 and 1`);
  return value;
}
