/**
 * DELIVERED: the client has received a conversation up to a seq. Only this request advances a cursor
 * (invariant I4).
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
