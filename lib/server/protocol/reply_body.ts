/** The results of request handlers. */
import type { Errno } from "../../wire/protocol.ts";

/** The fields of a reply. Without `errno` it is 0. */
export type ReplyBody = Readonly<Record<string, unknown>>;

/** The error of a refused request: `errno` and `errmsg` of its reply. */
export class RequestError extends Error {
  override readonly name = "RequestError";

  constructor(
    readonly errno: Errno,
    message: string,
    /** Milliseconds after which the client may retry; undefined if a retry is useless. */
    readonly retryAfter?: number,
  ) {
    super(message);
  }
}
