// Times as sites write them: a format and a zone.
import { show, timeOf } from "../../../learning/telemetry/message.ts";
import { isRefusal, type Refusal, refusal } from "../../../learning/telemetry/refusal.ts";
import { numberOf } from "./calibrate.ts";

const LATEST_MS = 8.64e15;
const UNITS_MS: Readonly<Record<string, number>> = {
  seconds: 1000,
  milliseconds: 1,
  microseconds: 1e-3,
  nanoseconds: 1e-6,
};
const FORMATS = `auto, iso, ${Object.keys(UNITS_MS).join(", ")}, or a pattern of yyyy, MM, dd, HH, mm, ss and SSS`;
const TOKENS = { yyyy: "(?<yyyy>\\d{4})", MM: "(?<MM>\\d\\d)", dd: "(?<dd>\\d\\d)", HH: "(?<HH>\\d\\d)" } as const;
const FINE_TOKENS = { mm: "(?<mm>\\d\\d)", SSS: "(?<SSS>\\d{3})", ss: "(?<ss>\\d\\d)" } as const;
const EVERY_TOKEN = { ...TOKENS, ...FINE_TOKENS };
const ISO_PATTERNS = ["yyyy-MM-ddTHH:mm:ss", "yyyy-MM-ddTHH:mm:ss.SSS", "yyyy-MM-ddTHH:mm", "yyyy-MM-dd"];
const OFFSET = /^([+-])(\d\d):?(\d\d)$/;
const MAX_PATTERN_CHARACTERS = 64;

/** Epoch milliseconds of what stands at `key`. */
export type TimeReader = (given: unknown, key: string) => number | Refusal;

/** Throws RangeError saying what is allowed. */
export function timeReader(format: string, zone: string): TimeReader {
  const toUtc = zoneOffset(zone);
  const unitMs = UNITS_MS[format];
  if (unitMs !== undefined) return (given, key) => ofUnit(given, key, format, unitMs);
  if (format === "auto" || format === "iso") return (given, key) => ofIso(given, key, format, toUtc);
  const pattern = parsePattern(format);
  return (given, key) => {
    const wall = typeof given === "string" ? wallMs(pattern, given.trim()) : null;
    return wall === null ? refusal("wrong_shape", `${key} ${show(given)} is not as ${format}`) : toUtc(wall);
  };
}

function ofUnit(given: unknown, key: string, unit: string, unitMs: number): number | Refusal {
  const atMs = Math.round((numberOf(given, undefined) ?? Number.NaN) * unitMs);
  if (atMs >= 0 && atMs <= LATEST_MS) return atMs;
  return refusal("wrong_shape", `${key} ${show(given)} is not a number of ${unit} since 1970`);
}

/** A time that names its zone is of that zone; `auto` also takes seconds and milliseconds. */
function ofIso(given: unknown, key: string, format: string, toUtc: (wallMs: number) => number): number | Refusal {
  if (typeof given === "string") {
    const text = given
      .trim()
      .replace(" ", "T")
      .replace(",", ".")
      .replace(/(\.\d{3})\d{1,6}$/, "$1");
    for (const pattern of isoPatterns) {
      const wall = wallMs(pattern, text);
      if (wall !== null) return toUtc(wall);
    }
    const number = format === "auto" ? numberOf(given, undefined) : null;
    if (number !== null) return timeOf(number, key);
  } else if (format === "iso") return refusal("wrong_shape", `${key} ${show(given)} is no time as ISO 8601 has it`);
  const atMs = timeOf(given, key);
  return isRefusalOf(atMs) ? refusal("wrong_shape", atMs.detail) : atMs;
}

const isRefusalOf = (given: number | Refusal): given is Refusal => typeof given !== "number" && isRefusal(given);

function parsePattern(format: string): RegExp {
  if (format.length > MAX_PATTERN_CHARACTERS || !/yyyy/.test(format))
    throw new RangeError(`format: allowed are ${FORMATS}`);
  const source = format
    .split(/(yyyy|MM|dd|HH|mm|SSS|ss)/)
    .map((part) => EVERY_TOKEN[part as keyof typeof EVERY_TOKEN] ?? part.replace(/[.*+?^${}()|[\]\\]/g, "\\$&"))
    .join("");
  try {
    return new RegExp(`^${source}$`);
  } catch {
    throw new RangeError(`format: a part stands twice; allowed are ${FORMATS}`);
  }
}

const isoPatterns = ISO_PATTERNS.map(parsePattern);

/** The time on the wall as if the wall were in UTC; null: the text is none. */
function wallMs(pattern: RegExp, text: string): number | null {
  const part = pattern.exec(text)?.groups;
  if (part === undefined) return null;
  const { yyyy = "1970", MM = "01", dd = "01", HH = "00", mm = "00", ss = "00", SSS = "000" } = part;
  const iso = `${yyyy}-${MM}-${dd}T${HH}:${mm}:${ss}.${SSS}Z`;
  const atMs = Date.parse(iso);
  // 31 February is read as 3 March by Date.parse.
  return Number.isFinite(atMs) && new Date(atMs).getUTCDate() === Number(dd) ? atMs : null;
}

/** From the time on a wall in `zone` to UTC. Of an hour that the clock goes through twice it is the first. */
function zoneOffset(zone: string): (wallMs: number) => number {
  const [, sign, hours, minutes] = OFFSET.exec(zone) ?? [];
  if (zone === "UTC") return (wallMs) => wallMs;
  if (sign !== undefined) {
    const offsetMs = (Number(hours) * 60 + Number(minutes)) * 60_000 * (sign === "-" ? -1 : 1);
    return (wallMs) => wallMs - offsetMs;
  }
  let clock: Intl.DateTimeFormat;
  try {
    clock = new Intl.DateTimeFormat("en-US", {
      timeZone: zone,
      hourCycle: "h23",
      year: "numeric",
      month: "numeric",
      day: "numeric",
      hour: "numeric",
      minute: "numeric",
      second: "numeric",
    });
  } catch {
    throw new RangeError(
      `zone ${JSON.stringify(zone)}: allowed are UTC, an offset as +01:00, or a name as Europe/Berlin`,
    );
  }
  const aheadMs = (utcMs: number) => {
    const part = Object.fromEntries(clock.formatToParts(utcMs).map(({ type, value }) => [type, Number(value)]));
    const { year = 0, month = 1, day = 1, hour = 0, minute = 0, second = 0 } = part;
    return Date.UTC(year, month - 1, day, hour, minute, second) - Math.floor(utcMs / 1000) * 1000;
  };
  // The larger offset is the one before the clock is set back.
  return (wallMs) => {
    const before = wallMs - aheadMs(wallMs - 86_400_000);
    return aheadMs(before) === wallMs - before ? before : wallMs - aheadMs(wallMs - aheadMs(wallMs));
  };
}
