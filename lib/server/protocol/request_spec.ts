/** The form of a row of the request table. */
import type { Rid } from "../../wire/protocol.ts";
import type { ReplyBody } from "./reply_body.ts";
import type { Schema } from "./validators.ts";

/** The result of a handler; undefined when there is no reply, or the handler has sent it. */
export type HandlerResult = ReplyBody | undefined | Promise<ReplyBody | undefined>;

/** One kind of request. `C` is the client that handlers are given. */
export interface RequestSpec<C extends { readonly session: unknown }> {
  readonly msgid: number;
  /** Its name in docs/PROTOCOL.md. */
  readonly name: string;
  /** One sentence for docs/PROTOCOL.md. */
  readonly summary: string;
  /** The msgid of its reply; undefined when it has none. */
  readonly reply: number | undefined;
  readonly needsLogin: boolean;
  /** Whether classic clients know it. */
  readonly classic: boolean;
  /** Otherwise it waits for all requests before it, and those after it wait for it. */
  readonly concurrent: boolean;
  /** Its price in simple requests, for the rate limiter. */
  readonly cost: number;
  /** Whether it belongs to the class of pages. */
  readonly isPage: boolean;
  readonly fields: Schema;
  /** Carries it out, after its fields were checked. `session` is there if `needsLogin` is true. */
  handle(
    client: C,
    session: NonNullable<C["session"]>,
    fields: never,
    rid: Rid | undefined,
  ): HandlerResult;
}
