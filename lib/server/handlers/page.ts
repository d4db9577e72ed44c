/** How much of a list one answer gets. */
import { Errno } from "../../wire/protocol.ts";
import { RequestError } from "../protocol/reply_body.ts";
import { integer } from "../protocol/validators.ts";

/**
 * How many a page may have: what the request asks for, else what is `usual`, where no more than `most` are
 * given out. Throws a {@link RequestError} if it asks for more: a shorter page would look like the last one.
 */
export function pageSize(limit: number | undefined, defaultSize: number, maxSize: number): number {
  if (limit === undefined) return Math.min(defaultSize, maxSize);
  if (limit > maxSize) {
    throw new RequestError(Errno.BAD_REQUEST, `limit must be ${integer(1, maxSize).description}`);
  }
  return limit;
}
