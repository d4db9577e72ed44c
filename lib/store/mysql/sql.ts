/** SQL as text that values can only get into as literals: what a user wrote never becomes a part of a statement. */

/** What can stand in a statement as a literal. Numbers are whole; bytes are of the type VARBINARY. */
export type SqlValue = number | string | Uint8Array;

/** A statement, or a piece of one. */
export class Sql {
  readonly text: string;

  /** Use {@link sql}, {@link valuesList} and {@link inList}, which know how to write values. */
  constructor(text: string) {
    this.text = text;
  }
}

/** Makes a statement of a template: pieces of SQL go in as they are, all other values as literals. */
export function sql(strings: TemplateStringsArray, ...values: readonly (SqlValue | Sql)[]): Sql {
  let text = strings[0]!;
  for (const [i, value] of values.entries()) {
    text += (value instanceof Sql ? value.text : literal(value)) + strings[i + 1];
  }
  return new Sql(text);
}

/** `(1, 'a'), (2, 'b')`, as VALUES wants it. There must be one at least. */
export function valuesList(values: readonly (readonly SqlValue[])[]): Sql {
  return new Sql(values.map(literalOrTuple).join());
}

/** `id IN (1, 2)` or `(low, high) IN ((1, 2), (3, 4))`: the condition that columns have one of these values. */
export function inList(columns: string, values: readonly (SqlValue | readonly SqlValue[])[]): Sql {
  return new Sql(values.length > 0 ? `${columns} IN (${values.map(literalOrTuple).join()})` : "FALSE");
}

function literalOrTuple(value: SqlValue | readonly SqlValue[]): string {
  if (typeof value !== "object" || value instanceof Uint8Array) return literal(value);
  return `(${value.map(literal).join()})`;
}

/**
 * Quotes and backslashes are doubled. A doubled quote is one in every mode of the server; with a backslash in its place
 * the literal would end there in NO_BACKSLASH_ESCAPES, which no connection here has.
 */
function literal(value: SqlValue): string {
  if (typeof value === "string") return `'${value.replace(/['\\]/g, "$&$&")}'`;
  if (typeof value === "number") {
    if (!Number.isSafeInteger(value)) throw new RangeError(`${value} is not a whole number`);
    return `${value}`;
  }
  return `x'${value.toHex()}'`;
}
