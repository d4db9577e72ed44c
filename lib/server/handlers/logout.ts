/** LOGINOUT_MSG: ends the session and its token. The connection may log in again. */
import type { Answer } from "../answer.ts";
import type { Caller } from "../caller.ts";
import type { Session } from "../session.ts";

export async function logout(caller: Caller, session: Session): Promise<Answer> {
  await caller.node.store.deleteSession(session.user);
  caller.loggedOut();
  return {};
}
