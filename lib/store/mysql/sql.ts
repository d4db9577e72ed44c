/** Builds SQL text. Values become literals, so that text of users never becomes part of a statement. */

/** A value that can be a literal. Numbers must be integers. Bytes have the type VARBINARY. */
export type SqlValue = number | string | Uint8Array;

/** A statement, or a part of one. */
export class Sql {
  readonly text: string;

  /** Use {@link sql}, {@link valuesList} and {@link inList} instead: they write values as literals. */
  constructor(text: string) {
    this.text = text;
  }
}

/**
 * Builds a statement from a template. Parts of SQL are inserted unchanged, and all other values as literals.
 */
export function sql(strings: TemplateStringsArray, ...values: readonly (SqlValue | Sql)[]): Sql {
  let text = strings[0]!;
  for (const [i, value] of values.entries()) text += literal(value) + strings[i + 1];
  return new Sql(text);
}

/** Returns `(1, 'a'), (2, 'b')` for VALUES. The list must not be empty. */
export function valuesList(values: readonly (readonly (SqlValue | Sql)[])[]): Sql {
  return new Sql(values.map(literalOrTuple).join());
}

/**
 * Returns `id IN (1, 2)` or `(low, high) IN ((1, 2), (3, 4))`: the condition that the columns have one of
 * these values.
 */
export function inList(columns: string, values: readonly (SqlValue | readonly SqlValue[])[]): Sql {
  return new Sql(values.length > 0 ? `${columns} IN (${values.map(literalOrTuple).join()})` : "FALSE");
}

function literalOrTuple(value: SqlValue | readonly (SqlValue | Sql)[]): string {
  return Array.isArray(value) ? `(${value.map(literal).join()})` : literal(value as SqlValue);
}

/**
 * Returns a part of SQL unchanged, and any other value as a literal, with quotes and backslashes doubled. A
 * doubled quote is safe in every mode of the server. A quote after a backslash would end the literal in the
 * mode NO_BACKSLASH_ESCAPES, which no connection of the store uses.
 */
function literal(value: SqlValue | Sql): string {
  if (typeof value === "string") return `'${value.replace(/['\\]/g, "$&$&")}'`;
  if (typeof value === "number") {
    if (!Number.isSafeInteger(value)) throw new RangeError(`${value} is not an integer`);
    return `${value}`;
  }
  return value instanceof Sql ? value.text : `x'${value.toHex()}'`;
}
