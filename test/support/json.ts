// What a test looks into without a schema: JSON of any shape, whose fields its expectations name.

export type Json = ReturnType<typeof JSON.parse>;

export const jsonOf = async (response: Response): Promise<Json> => JSON.parse(await response.text());

/** Of `path` at `base`, a coordinator's URL. */
export const getJson = async (base: string, path: string): Promise<Json> => jsonOf(await fetch(new URL(path, base)));
