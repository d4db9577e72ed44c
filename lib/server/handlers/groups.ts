/** CREATE_GROUP_MSG, ADD_GROUP_MSG and MEMBERS. */
import { Errno, Msg } from "../../wire/protocol.ts";
import { type ReplyBody, RequestError } from "../protocol/reply_body.ts";
import type { Client } from "../sessions/client.ts";
import { stateOf } from "../protocol/dialect.ts";
import type { Session } from "../sessions/session.ts";
import { checkNewName } from "./name.ts";
import { pageSize } from "./page.ts";
import { unwrap } from "./refusal.ts";

/** Members per reply if the request has no limit. */
const DEFAULT_MEMBERS_LIMIT = 100;

export async function createGroup(
  { node }: Client,
  session: Session,
  { groupname, groupdesc }: { groupname: string; groupdesc: string | undefined },
): Promise<ReplyBody> {
  const name = checkNewName("groupname", groupname, "group", node.config);
  const { id } = unwrap(await node.store.createGroup(session.user, name, groupdesc ?? ""), {
    name_in_use: `the name ${JSON.stringify(name)} is taken`,
    full: `you are in ${node.config.maxGroups} groups, which is the limit`,
  });
  await node.onGroupJoined(session.user, id);
  return { groupid: id };
}

export async function joinGroup(
  { node }: Client,
  session: Session,
  { groupid, msg, message }: { groupid: number; msg?: unknown; message?: unknown },
): Promise<ReplyBody> {
  // In another numbering of the C++ servers this id is a message to the group. Such a message must not make
  // its sender a member.
  if (msg !== undefined || message !== undefined) {
    throw new RequestError(
      Errno.BAD_REQUEST,
      `unexpected text: msgid ${Msg.ADD_GROUP} joins a group, ${Msg.GROUP_CHAT} sends a message to it`,
    );
  }
  const { name } = unwrap(await node.store.joinGroup(session.user, groupid), {
    not_found: `there is no group ${groupid}`,
    full: "the group has the maximum number of members, or you are in the maximum number of groups",
  });
  await node.onGroupJoined(session.user, groupid);
  return { groupid, groupname: name };
}

export async function members(
  { node }: Client,
  session: Session,
  { groupid, after, limit }: { groupid: number; after: number | undefined; limit: number | undefined },
): Promise<ReplyBody> {
  const count = pageSize(limit, DEFAULT_MEMBERS_LIMIT, node.config.membersPage);
  const page = unwrap(
    await node.store.members(session.user, groupid, after ?? 0, count),
    {
      not_found: `there is no group ${groupid}`,
      forbidden: `you are not a member of group ${groupid}`,
    },
  );
  const online = await node.online(page.map(({ id }) => id));
  return {
    groupid,
    users: page.map(({ id, name, role }) => ({ id, name, state: stateOf(online.has(id)), role })),
  };
}
