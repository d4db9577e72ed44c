/** LOGINOUT_MSG: ends the session and its token. The connection may log in again. */
import type { Answer } from "../answer.ts";
import type { Caller } from "../caller.ts";
import type { Session } from "../session.ts";

export async function logout(caller: Caller, session: Session): Promise<Answer> {
  const { store, cursors } = caller.node;
  await store.deleteSession({ user: session.user, login: session.login });
  await cursors.settled(session.user); // wherever the next login is, it looks from there on
  await caller.loggedOut();
  return {};
}
