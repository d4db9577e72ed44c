/** The kinds of fields that requests have: what each accepts, in code and in words. */
import { FieldLimit } from "../../wire/protocol.ts";
import { isNameLengthValid } from "./names.ts";

/** A kind of field. */
export interface Field<T> {
  /** Whether the field may be absent; then its value is undefined. */
  readonly optional: boolean;
  /** What it must be, to end the sentence "x must be …". */
  readonly description: string;
  /** Whether a value is one. */
  accepts(value: unknown): boolean;
  /** Only for the compiler: the type of an accepted value. */
  readonly type?: T;
}

/** The names and kinds of a request's fields. */
export type Schema = Readonly<Record<string, Field<unknown>>>;

/** The values that a request with these fields comes with. */
export type SchemaValues<F extends Schema> = {
  readonly [Name in keyof F]: F[Name] extends Field<infer T> ? T : never;
};

/** A user's or group's id, or a seq. */
export const id: Field<number> = integer(1, FieldLimit.INTEGER);

/** A whole number from `min` to `max`, both included. */
export function integer(min: number, max: number): Field<number> {
  return {
    optional: false,
    description: `a whole number from ${min} to ${max}`,
    accepts: (value) => Number.isInteger(value) && (value as number) >= min && (value as number) <= max,
  };
}

/** True or false. */
export const boolean: Field<boolean> = {
  optional: false,
  description: "true or false",
  accepts: (value) => typeof value === "boolean",
};

/** Text of `min` to `max` characters (code points); without `max`, the frame is the bound. */
export function text(min: number, max = Infinity): Field<string> {
  const count = max === Infinity ? `at least ${min} character` : `${min} to ${max} characters`;
  return {
    optional: false,
    description: `a string of ${count}, with no half of a surrogate pair`,
    accepts: (value) => typeof value === "string" && value.isWellFormed() && hasLength(value, min, max),
  };
}

/**
 * What a user or a group is newly called: the characters are those of the normal form. names.ts has the other
 * rules.
 */
export const newName: Field<string> = {
  optional: false,
  description: `a string of 1 to ${FieldLimit.NAME} characters, not blank, with no control characters`,
  accepts: (value) =>
    typeof value === "string" && value.isWellFormed() && isNameLengthValid(value) &&
    !/\p{Cc}/u.test(value) && /\P{Z}/u.test(value),
};

/** What a user is called already: an account of earlier times may have any name. */
export const existingName: Field<string> = {
  ...text(1, FieldLimit.NAME),
  accepts: (value) => typeof value === "string" && value.isWellFormed() && isNameLengthValid(value),
};

/** A field that may be absent. */
export function optional<T>(field: Field<T>): Field<T | undefined> {
  return { ...field, optional: true } as Field<T | undefined>;
}

/** What is wrong with a message's fields, if anything is: it names the field and says what it must be. */
export function validate(fields: Schema, message: Readonly<Record<string, unknown>>): string | undefined {
  for (const name in fields) {
    const field = fields[name]!;
    const value = message[name];
    if (value === undefined) {
      if (!field.optional) return `${name} is missing: it must be ${field.description}`;
    } else if (!field.accepts(value)) return `${name} must be ${field.description}`;
  }
  return undefined;
}

/**
 * Counts code points only where code units leave it open: there are never more of the first than of the
 * second.
 */
function hasLength(text: string, min: number, max: number): boolean {
  if (text.length < min || text.length > 2 * max) return false;
  if (text.length <= max && min <= 1) return true;
  let count = 0;
  for (const _ of text) count++;
  return count >= min && count <= max;
}
