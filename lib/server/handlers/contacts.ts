/** CONTACTS: whom the user knows. Also what a login's answer tells. */
import { Errno, Msg } from "../../wire/protocol.ts";
import type { Answer } from "../answer.ts";
import type { Caller } from "../caller.ts";
import type { Roster } from "../dialect.ts";
import type { Node } from "../node.ts";
import { type Session, stateOf } from "../session.ts";

const USERS_PER_GROUP = 50; // of each group's members in 2 and 29; MEMBERS pages through all

export async function contacts(
  { node, connection }: Caller,
  session: Session,
  _fields: unknown,
  rid: number | string | undefined,
): Promise<Answer> {
  const bare = { msgid: Msg.CONTACTS_ACK, errno: Errno.OK, rid }; // it counts towards the frame's size
  const { msgid: _, ...answer } = connection.dialect!.withRoster(bare, await rosterOf(node, session.user));
  return answer;
}

/** The user's friends and groups, each user with the state of this moment. */
export async function rosterOf(node: Node, user: number): Promise<Roster> {
  const { friends, groups } = await node.store.contacts(user, USERS_PER_GROUP);
  const everybody = new Set([...friends, ...groups.flatMap((group) => group.users)].map(({ id }) => id));
  const online = await node.bus.online([...everybody]);
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
