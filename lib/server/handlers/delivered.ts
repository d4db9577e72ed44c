/**
 * DELIVERED: the client has a conversation up to a seq. It is the only thing that moves a cursor (invariant
 * I4).
 */
import type { Client } from "../sessions/client.ts";
import type { Session } from "../sessions/session.ts";
import { namedPeer } from "./peer.ts";

export function delivered(
  _client: Client,
  session: Session,
  { seq, ...names }: { id: number | undefined; groupid: number | undefined; seq: number },
): undefined {
  session.delivery.acknowledge(namedPeer(names), seq);
}
