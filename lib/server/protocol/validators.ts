/** The validators of request fields, each with a description. */
import { FieldLimit } from "../../wire/protocol.ts";
import { isNameLengthValid } from "./names.ts";

/** A validator of a field. */
export interface Field<T> {
  /** Whether the field may be absent; then its value is undefined. */
  readonly optional: boolean;
  /** The description of accepted values, to end the sentence "x must be …". */
  readonly description: string;
  /** Returns whether the field accepts a value. */
  accepts(value: unknown): boolean;
  /** Only for the compiler: the type of an accepted value. */
  readonly type?: T;
}

/** The fields of a request by their names. */
export type Schema = Readonly<Record<string, Field<unknown>>>;

/** The values of the fields of a request. */
export type SchemaValues<F extends Schema> = {
  readonly [Name in keyof F]: F[Name] extends Field<infer T> ? T : never;
};

/** A user's or group's id, or a seq. */
export const id: Field<number> = integer(1, FieldLimit.INTEGER);

/** Returns a validator of whole numbers from `min` to `max`, both included. */
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

/** Returns a validator of text of `min` to `max` code points. Without `max`, the frame size is the bound. */
export function text(min: number, max = Infinity): Field<string> {
  const count = max === Infinity ? `at least ${min} character` : `${min} to ${max} characters`;
  return {
    optional: false,
    description: `a string of ${count}, with no half of a surrogate pair`,
    accepts: (value) => typeof value === "string" && value.isWellFormed() && hasLength(value, min, max),
  };
}

/**
 * The name of a new user or group. The length is that of the normal form. For the other rules see names.ts.
 */
export const newName: Field<string> = {
  optional: false,
  description: `a string of 1 to ${FieldLimit.NAME} characters, not blank, with no control characters`,
  accepts: (value) =>
    typeof value === "string" && value.isWellFormed() && isNameLengthValid(value) &&
    !/\p{Cc}/u.test(value) && /\P{Z}/u.test(value),
};

/** The name of an existing user. An account of an earlier version may have any name. */
export const existingName: Field<string> = {
  ...text(1, FieldLimit.NAME),
  accepts: (value) => typeof value === "string" && value.isWellFormed() && isNameLengthValid(value),
};

/** Returns the field as one that may be absent. */
export function optional<T>(field: Field<T>): Field<T | undefined> {
  return { ...field, optional: true } as Field<T | undefined>;
}

/**
 * Returns the first problem of a message's fields, with the field's name and its description, or undefined.
 */
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
 * Compares the number of code points with the bounds. It counts them only if the number of code units is not
 * enough.
 */
function hasLength(text: string, min: number, max: number): boolean {
  if (text.length < min || text.length > 2 * max) return false;
  if (text.length <= max && min <= 1) return true;
  let count = 0;
  for (const _ of text) count++;
  return count >= min && count <= max;
}
