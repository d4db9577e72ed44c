/**
 * A substitute for the package @std/assert that needs no download: the functions that this project's tests
 * use, with the same names and signatures, based on the runtime's `node:assert`. Without the `links` entry in
 * deno.json the package itself is used.
 */
import assertion, { AssertionError } from "node:assert/strict";

export { AssertionError };

// `msg!` below: some versions of Node's types, a dependency of npm packages, do not accept an undefined
// message.

/** Fails unless `expr` is truthy. */
export function assert(expr: unknown, msg = ""): asserts expr {
  if (!expr) throw new AssertionError({ message: msg || "expected a truthy value", actual: expr });
}

/** Fails always, with `msg`. */
export function fail(msg?: string): never {
  throw new AssertionError({ message: msg ?? "failed" });
}

/** Fails unless the two are deeply equal. */
export function assertEquals<T>(actual: T, expected: T, msg?: string): void {
  assertion.deepStrictEqual(actual, expected, msg!);
}

/** Fails if the two are deeply equal. */
export function assertNotEquals<T>(actual: T, expected: T, msg?: string): void {
  assertion.notDeepStrictEqual(actual, expected, msg!);
}

/** Fails unless the two are the same value (`Object.is`). */
export function assertStrictEquals<T>(actual: unknown, expected: T, msg?: string): asserts actual is T {
  assertion.strictEqual(actual, expected, msg!);
}

/** Fails if `actual` is null or undefined. */
export function assertExists<T>(actual: T, msg?: string): asserts actual is NonNullable<T> {
  assert(actual !== undefined && actual !== null, msg ?? "expected a value, got none");
}

/** Fails unless `actual` contains `expected`. */
export function assertStringIncludes(actual: string, expected: string, msg?: string): void {
  assert(
    actual.includes(expected),
    msg ?? `expected ${JSON.stringify(actual)} to include ${JSON.stringify(expected)}`,
  );
}

/** Fails unless `actual` matches `expected`. */
export function assertMatch(actual: string, expected: RegExp, msg?: string): void {
  assertion.match(actual, expected, msg!);
}

/** Fails unless `actual` is below `expected`. */
export function assertLess<T>(actual: T, expected: T, msg?: string): void {
  assert(actual < expected, msg ?? `expected ${actual} < ${expected}`);
}

/** Fails unless `actual` is at most `expected`. */
export function assertLessOrEqual<T>(actual: T, expected: T, msg?: string): void {
  assert(actual <= expected, msg ?? `expected ${actual} <= ${expected}`);
}

/** Fails unless `actual` is at least `expected`. */
export function assertGreaterOrEqual<T>(actual: T, expected: T, msg?: string): void {
  assert(actual >= expected, msg ?? `expected ${actual} >= ${expected}`);
}

// deno-lint-ignore no-explicit-any -- the signature of the package: a class with any constructor
type ErrorClass<E extends Error> = abstract new (...args: any[]) => E;

function check<E extends Error>(error: unknown, ErrorClass?: ErrorClass<E>, msgIncludes?: string): E {
  if (ErrorClass && !(error instanceof ErrorClass)) {
    throw new AssertionError({ message: `expected a ${ErrorClass.name}, got ${error}`, actual: error });
  }
  if (msgIncludes !== undefined) assertStringIncludes((error as Error).message, msgIncludes);
  return error as E;
}

/** Fails unless `fn` throws an `ErrorClass` whose message includes `msgIncludes`. Returns the error. */
export function assertThrows<E extends Error>(
  fn: () => unknown,
  ErrorClass?: ErrorClass<E>,
  msgIncludes?: string,
): E {
  let threw: { error: unknown } | undefined;
  try {
    fn();
  } catch (error) {
    threw = { error };
  }
  assert(threw, "expected the function to throw");
  return check(threw.error, ErrorClass, msgIncludes);
}

/** Fails like {@link assertThrows}, for a function that returns a rejected promise. */
export async function assertRejects<E extends Error>(
  fn: () => PromiseLike<unknown>,
  ErrorClass?: ErrorClass<E>,
  msgIncludes?: string,
): Promise<E> {
  let threw: { error: unknown } | undefined;
  try {
    await fn();
  } catch (error) {
    threw = { error };
  }
  assert(threw, "expected the promise to be rejected");
  return check(threw.error, ErrorClass, msgIncludes);
}
