/** The ids that a session gives its messages, by which the server knows a message that comes again. */

/**
 * Makes the ids of a session's messages: a random beginning, and a count in an order that text keeps, so that
 * the server's index of them is written to in one place.
 */
export function cidGenerator(): () => string {
  const [high, low] = crypto.getRandomValues(new Uint32Array(2));
  const prefix = high!.toString(36).padStart(7, "0") + low!.toString(36).padStart(7, "0");
  let count = 0;
  return () => `${prefix}-${(++count).toString(36).padStart(6, "0")}`;
}
