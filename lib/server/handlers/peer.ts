/** Which conversation a request is about, where it can be a pair's or a group's. */
import type { Peer } from "../../store/store.ts";
import { Errno } from "../../wire/protocol.ts";
import { RequestError } from "../protocol/reply_body.ts";

/**
 * The conversation that a request names by `id` (the other user) or `groupid`; it must be exactly one of
 * them.
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
