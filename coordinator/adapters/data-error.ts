// Faults of what is to be stored, apart from those of the database: to try the same again is no use.

/** SQLSTATE classes: data exception, integrity constraint and cardinality violation. */
const DATA_ERROR = /^2[123]/;

/** A RangeError: a number that no column can hold. */
export const isOfTheData = (error: Error & { readonly code?: string | undefined }): boolean =>
  error instanceof RangeError || DATA_ERROR.test(error.code ?? "");
