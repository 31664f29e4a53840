// What may be called a channel: something measured, under a printable name; never a label.

const NAME = /^[\p{L}\p{N}][\p{L}\p{N} _.:%()/-]{0,63}$/u;
const UNIT = /^\P{C}{0,32}$/u;

export const CHANNEL_NAME_RULE =
  "must be 1 to 64 letters, digits, spaces or _.:%()/-, beginning with a letter or digit";
export const UNIT_RULE = "must be at most 32 printable characters";

/** Columns, in lower case, that say of a row whether it is an anomaly. */
export const LABEL_COLUMNS: readonly string[] = ["anomaly", "label", "is_anomaly"];
/** Columns that hint at it. */
const HINT_COLUMNS = ["changepoint", "fault"];
const LABELS: ReadonlySet<string> = new Set([...LABEL_COLUMNS, ...HINT_COLUMNS]);

/** Whether the column says, in whatever case, what nobody measured: it must not reach training. */
export const isLabel = (name: string): boolean => LABELS.has(name.toLowerCase());

/** Whether the column is one that says of a row whether it is an anomaly, in whatever case. */
export const isLabelColumn = (name: string): boolean => LABEL_COLUMNS.includes(name.toLowerCase());

export const isChannelName = (name: string): boolean => NAME.test(name);
export const isUnit = (unit: string): boolean => UNIT.test(unit);
