/** Maps rejections of the store to error replies. */
import type { Rejection } from "../../store/store.ts";
import { Errno } from "../../wire/protocol.ts";
import { RequestError } from "../protocol/reply_body.ts";

const ERRNO: Record<Rejection["refused"], Errno> = {
  name_in_use: Errno.FAILED,
  full: Errno.FAILED,
  not_found: Errno.NOT_FOUND,
  forbidden: Errno.FORBIDDEN,
  cid_reused: Errno.BAD_REQUEST,
  disk_full: Errno.UNAVAILABLE,
  over_quota: Errno.RATE_LIMITED,
};

/** Milliseconds after which a client should retry, for rejections that are temporary. */
const RETRY_AFTER_MS: Partial<Record<Rejection["refused"], number>> = { disk_full: 10_000 };

/** Returns the result, or throws a {@link RequestError} with the message for the rejection. */
export function unwrap<T extends object>(
  result: T | Rejection,
  messages: Partial<Record<Rejection["refused"], string>>,
): Exclude<T, Rejection> {
  if (!("refused" in result)) return result as Exclude<T, Rejection>;
  const { refused } = result as Rejection;
  throw new RequestError(ERRNO[refused], messages[refused] ?? refused, RETRY_AFTER_MS[refused]);
}
