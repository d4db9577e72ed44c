/** What a handler says to a request. */
import type { Errno } from "../../wire/protocol.ts";

/** The fields of a reply; `errno` is 0 where it isn't said. */
export type ReplyBody = Readonly<Record<string, unknown>>;

/** Why a request is refused: goes into the reply's `errno` and `errmsg`. */
export class RequestError extends Error {
  override readonly name = "RequestError";

  constructor(
    readonly errno: Errno,
    message: string,
    /** Milliseconds after which it may be tried again, where that makes sense. */
    readonly retryAfter?: number,
  ) {
    super(message);
  }
}
