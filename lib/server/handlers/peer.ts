/** The conversation of a request that names a user or a group. */
import type { Peer } from "../../store/store.ts";
import { Errno } from "../../wire/protocol.ts";
import { RequestError } from "../protocol/reply_body.ts";

/**
 * Returns the conversation that a request names by `id` (the other user) or `groupid`. Throws a {@link
 * RequestError} unless exactly one of them is set.
 */
export function namedPeer({ id, groupid }: { id: number | undefined; groupid: number | undefined }): Peer {
  if ((id === undefined) === (groupid === undefined)) {
    throw new RequestError(
      Errno.BAD_REQUEST,
      "name one conversation, by id or by groupid",
    );
  }
  return id ?? -groupid!;
}
