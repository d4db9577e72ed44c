/** LOGINOUT_MSG: ends the session and its token. The connection may log in again. */
import type { Answer } from "../protocol/reply_body.ts";
import type { Caller } from "../sessions/client.ts";
import type { Session } from "../sessions/session.ts";

export async function logout(caller: Caller, session: Session): Promise<Answer> {
  const { store, cursors } = caller.node;
  await store.deleteSession({ user: session.user, login: session.login });
  await cursors.settled(session.user); // wherever the next login is, it looks from there on
  await caller.loggedOut();
  return {};
}
