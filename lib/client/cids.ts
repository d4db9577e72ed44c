/** Client message ids, by which the server recognizes a message that is sent again. */

/**
 * Returns a generator of client message ids for one session: a random prefix and a count. The ids ascend as
 * text, so that the server's index of them grows at one place.
 */
export function cidGenerator(): () => string {
  const [high, low] = crypto.getRandomValues(new Uint32Array(2));
  const prefix = high!.toString(36).padStart(7, "0") + low!.toString(36).padStart(7, "0");
  let count = 0;
  return () => `${prefix}-${(++count).toString(36).padStart(6, "0")}`;
}
