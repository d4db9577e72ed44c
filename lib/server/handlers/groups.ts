/** CREATE_GROUP_MSG, ADD_GROUP_MSG and MEMBERS. */
import { Errno, Msg } from "../../wire/protocol.ts";
import { type Answer, RequestError } from "../protocol/reply_body.ts";
import type { Caller } from "../sessions/client.ts";
import { stateOf } from "../protocol/dialect.ts";
import type { Session } from "../sessions/session.ts";
import { newName } from "./name.ts";
import { pageSize } from "./page.ts";
import { granted } from "./refusal.ts";

/** Members in one answer when the request doesn't say. */
const MEMBERS_USUALLY = 100;

export async function createGroup(
  { node }: Caller,
  session: Session,
  { groupname, groupdesc }: { groupname: string; groupdesc: string | undefined },
): Promise<Answer> {
  const name = newName("groupname", groupname, "group", node.config);
  const { id } = granted(await node.store.createGroup(session.user, name, groupdesc ?? ""), {
    taken: `the name ${JSON.stringify(name)} is taken`,
    full: `you are in ${node.config.maxGroups} groups, which is the most there can be`,
  });
  await node.joined(session.user, id);
  return { groupid: id };
}

export async function joinGroup(
  { node }: Caller,
  session: Session,
  { groupid, msg, message }: { groupid: number; msg?: unknown; message?: unknown },
): Promise<Answer> {
  // In another numbering of the C++ servers this is a message to the group, which must not make its sender a
  // member.
  if (msg !== undefined || message !== undefined) {
    throw new RequestError(
      Errno.BAD_REQUEST,
      `there is a text in it: msgid ${Msg.ADD_GROUP} joins a group, and ${Msg.GROUP_CHAT} sends a message to it`,
    );
  }
  const { name } = granted(await node.store.joinGroup(session.user, groupid), {
    not_found: `there is no group ${groupid}`,
    full: "the group has as many members as there can be, or you are in as many groups",
  });
  await node.joined(session.user, groupid);
  return { groupid, groupname: name };
}

export async function members(
  { node }: Caller,
  session: Session,
  { groupid, after, limit }: { groupid: number; after: number | undefined; limit: number | undefined },
): Promise<Answer> {
  const most = pageSize(limit, MEMBERS_USUALLY, node.config.membersPage);
  const list = granted(
    await node.store.members(session.user, groupid, after ?? 0, most),
    {
      not_found: `there is no group ${groupid}`,
      forbidden: `you are not a member of group ${groupid}`,
    },
  );
  const online = await node.online(list.map(({ id }) => id));
  return {
    groupid,
    users: list.map(({ id, name, role }) => ({ id, name, state: stateOf(online.has(id)), role })),
  };
}
