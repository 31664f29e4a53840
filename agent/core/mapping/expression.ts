// Regular expressions of a mapping file, on texts of bounded length.

/** Longer texts don't match: an expression's cost can grow with more than their length. */
const MAX_CHARACTERS = 1_024;

/** What the first group takes of a text, or the whole match where it has none; null: it does not match. */
export type Expression = (text: string) => string | null;

/** Throws RangeError with what is wrong. */
export function parseExpression(source: string): Expression {
  let pattern: RegExp;
  try {
    pattern = new RegExp(source, "u");
  } catch (error) {
    throw new RangeError(`${(error as Error).message}; allowed is a regular expression as JavaScript has them`);
  }
  return (text) => {
    const found = text.length > MAX_CHARACTERS ? null : pattern.exec(text);
    return found === null ? null : (found[1] ?? found[0]);
  };
}
