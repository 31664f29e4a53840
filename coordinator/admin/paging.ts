// Lists are read page by page: a cursor is the key of a page's last row, opaque to whoever hands it back.
import { z } from "zod";
import { cohortId, deviceId, gatewayId } from "../../learning/ids.ts";
import type { Page, PageRequest } from "../ports/fleet-queries.ts";

const MAX_CURSOR_CHARACTERS = 512;

export type Cursor<Key> = z.ZodCodec<z.ZodString, z.ZodType<Key>>;

/** base64url of the key's JSON; anything else is refused as "not a cursor of this list". */
export function cursorOf<Key>(key: z.ZodType<Key>): Cursor<Key> {
  return z.codec(z.string().max(MAX_CURSOR_CHARACTERS), key, {
    decode: (text, context) => {
      const parsed = key.safeParse(parseJson(Buffer.from(text, "base64url").toString()));
      if (parsed.success) return parsed.data as never;
      context.issues.push({
        code: "custom",
        input: text,
        message: "is not a cursor of this list: take a page's nextCursor",
      });
      return z.NEVER;
    },
    encode: (value) => Buffer.from(JSON.stringify(value)).toString("base64url"),
  });
}

function parseJson(text: string): unknown {
  try {
    return JSON.parse(text);
  } catch {
    return undefined;
  }
}

export const timeKey = z.strictObject({ atUs: z.int().min(0), id: z.string().max(128) });

const name = (parse: (text: string) => string, whose: string) =>
  z.string().refine((text) => {
    try {
      return parse(text) === text;
    } catch {
      return false;
    }
  }, `must be a ${whose}'s name: 1 to 64 letters, digits, '_', '.' or '-'`);

export const cohortName = name(cohortId, "cohort");
export const gatewayName = name(gatewayId, "gateway");
export const deviceName = name(deviceId, "device");

const planName = z.string().regex(/^[0-9a-f]{64}$/, "must be a plan's id: 64 lower-case hex digits");
export const planParams = z.strictObject({ planId: planName });

export const versionParams = z.strictObject({
  cohort: cohortName,
  version: z.coerce.number().int().min(1).max(Number.MAX_SAFE_INTEGER),
});

export const pageSize = z.coerce.number().int().min(1).max(200).default(50).describe("Rows a page");

export function pageQuery<Key>(cursor: Cursor<Key>) {
  return plainPageQuery(cursor).extend({ cohort: cohortName.optional().describe("Only this cohort's") });
}

/** Of a list that is of one cohort anyway. */
export function plainPageQuery<Key>(cursor: Cursor<Key>) {
  return z.strictObject({
    limit: pageSize,
    cursor: cursor.optional().describe("nextCursor of the page before"),
  });
}

export function pageSchema<Item extends z.ZodType>(item: Item) {
  return z.object({
    items: z.array(item),
    nextCursor: z.string().nullable().describe("Of the page that follows; null: there is none"),
  });
}

export function pageRequest<Key>(query: {
  limit: number;
  cursor?: Key | undefined;
  cohort?: string | undefined;
}): PageRequest<Key> {
  return { limit: query.limit, after: query.cursor ?? null, cohort: query.cohort ?? null };
}

export function pageAnswer<Item, Key>({ items, next }: Page<Item, Key>, cursor: Cursor<Key>) {
  return { items, nextCursor: next === null ? null : z.encode(cursor, next) };
}
