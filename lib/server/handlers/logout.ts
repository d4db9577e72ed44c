/** LOGINOUT_MSG: ends the session and its token. The connection may log in again. */
import type { ReplyBody } from "../protocol/reply_body.ts";
import type { Client } from "../sessions/client.ts";
import type { Session } from "../sessions/session.ts";

export async function logout(client: Client, session: Session): Promise<ReplyBody> {
  const { store, cursors } = client.node;
  await store.deleteSession({ user: session.user, loginEpoch: session.loginEpoch });
  await cursors.flushUser(session.user); // the next login may be on another node, and loads by the cursors
  await client.detachSession();
  return {};
}
