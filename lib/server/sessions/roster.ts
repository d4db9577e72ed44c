/**
 * A user's friends and groups, with the states of the users in them, for the replies to LOGIN_MSG and
 * CONTACTS.
 */
import { type Roster, stateOf } from "../protocol/dialect.ts";
import type { Node } from "../node.ts";
import type { Session } from "./session.ts";

/** Members of each group in a reply. MEMBERS pages through all of them. */
const USERS_PER_GROUP = 50;

/** Loads the friends and groups of the session's user, with the current state of each user. */
export async function loadRoster(node: Node, session: Session): Promise<Roster> {
  const { friends, groups } = await node.store.contacts(session.user, USERS_PER_GROUP);
  const ids = new Set([...friends, ...groups.flatMap((group) => group.users)].map(({ id }) => id));
  let online: ReadonlySet<number> = new Set();
  await session.syncPresence(async () => {
    online = await node.online([...ids]);
    return friends.map(({ id }) => id).filter((id) => online.has(id));
  });
  return {
    friends: friends.map(({ id, name }) => ({ id, name, state: stateOf(online.has(id)) })),
    groups: groups.map(({ id, name, description, members, users }) => ({
      id,
      groupname: name,
      groupdesc: description,
      members,
      users: users.map(({ id, name, role }) => ({ id, name, state: stateOf(online.has(id)), role })),
    })),
  };
}
