/** The size of a page of a list. */
import { Errno } from "../../wire/protocol.ts";
import { RequestError } from "../protocol/reply_body.ts";
import { integer } from "../protocol/validators.ts";

/**
 * Returns the number of entries of a page: `limit`, or else the default. Throws a {@link RequestError} if
 * `limit` is over the maximum, because a shorter page would look like the last one.
 */
export function pageSize(limit: number | undefined, defaultSize: number, maxSize: number): number {
  if (limit === undefined) return Math.min(defaultSize, maxSize);
  if (limit > maxSize) {
    throw new RequestError(Errno.BAD_REQUEST, `limit must be ${integer(1, maxSize).description}`);
  }
  return limit;
}
