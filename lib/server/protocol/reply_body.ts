/** The results of handlers, and the replies made of them. */
import { Errno, Msg, type Rid } from "../../wire/protocol.ts";
import type { ServerMessage } from "./dialect.ts";

/** The fields of a reply; `errno` is 0 by default. */
export type ReplyBody = Readonly<Record<string, unknown>>;

/** The rejection of a request: the reply's `errno` and `errmsg`. */
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

  /** The fields of the reply. */
  get body(): ReplyBody {
    const { errno, message: errmsg, retryAfter } = this;
    return retryAfter === undefined ? { errno, errmsg } : { errno, errmsg, retry_after: retryAfter };
  }
}

/** Returns the reply to a request; undefined if it has none. */
export function replyTo(
  { msgid, reply }: { readonly msgid: number; readonly reply: number | undefined },
  rid: Rid | undefined,
  body: ReplyBody | undefined,
): ServerMessage | undefined {
  if (body === undefined || reply === undefined) return undefined;
  const head = reply === Msg.ACK
    ? { msgid: reply, of: msgid, errno: Errno.OK }
    : { msgid: reply, errno: Errno.OK };
  return rid === undefined ? { ...head, ...body } : { ...head, ...body, rid };
}
