/**
 * Everything a client can ask, in one table: each message's id, name and fields with their checks, what
 * answers it, whether it needs a login, and its handler. Validation, dispatch and the reference in
 * docs/PROTOCOL.md are made of it.
 */
import { Limit, MAX_HISTORY_PAGE, MAX_MEMBERS_PAGE, Msg, type Rid } from "../../wire/protocol.ts";
import type { Answer } from "./reply_body.ts";
import type { Caller } from "../sessions/client.ts";
import {
  type Fields,
  flag,
  id,
  integer,
  knownName,
  name,
  optional,
  text,
  type Values,
} from "./validators.ts";
import { groupChat, oneChat } from "../handlers/chat.ts";
import { contacts } from "../handlers/contacts.ts";
import { delivered } from "../handlers/delivered.ts";
import { addFriend } from "../handlers/friends.ts";
import { createGroup, joinGroup, members } from "../handlers/groups.ts";
import { history } from "../handlers/history.ts";
import { login } from "../handlers/login.ts";
import { logout } from "../handlers/logout.ts";
import { register } from "../handlers/register.ts";
import type { Session } from "../sessions/session.ts";

/** A handler's result; undefined when there is no reply, or the handler has sent it. */
export type Result = Answer | undefined | Promise<Answer | undefined>;

/** One row of the table. */
export interface RequestSpec {
  readonly msgid: number;
  /** Its name in the protocol's description. */
  readonly name: string;
  /** What it does, in a few words. */
  readonly summary: string;
  /** The msgid of its reply; undefined when it has none. */
  readonly reply: number | undefined;
  readonly needsLogin: boolean;
  /** Whether classic clients know it. */
  readonly classic: boolean;
  /** Whether it need not wait for the requests before it to be done, nor those after it for this one. */
  readonly pipelined: boolean;
  /** What it takes from the allowance, in simple requests. */
  readonly cost: number;
  readonly fields: Fields;
  /** Carries it out; the fields have been checked. `session` is there if `needsLogin`. */
  handle(caller: Caller, session: Session, fields: never, rid: Rid | undefined): Result;
}

type Row<F extends Fields> =
  & Omit<RequestSpec, "needsLogin" | "pipelined" | "classic" | "cost" | "handle" | "fields">
  & {
    readonly classic?: true;
    readonly pipelined?: true;
    readonly cost?: number; // 1 if it isn't given
    readonly fields: F;
  };

/** A request that needs no login. */
function open<F extends Fields>(
  row: Row<F> & { handle(caller: Caller, fields: Values<F>, rid: Rid | undefined): Result },
): RequestSpec {
  const handle: RequestSpec["handle"] = (caller, _session, fields, rid) => row.handle(caller, fields, rid);
  return { classic: false, pipelined: false, cost: 1, ...row, needsLogin: false, handle };
}

/** A request that needs a login. */
function member<F extends Fields>(
  row: Row<F> & {
    handle(caller: Caller, session: Session, fields: Values<F>, rid: Rid | undefined): Result;
  },
): RequestSpec {
  return { classic: false, pipelined: false, cost: 1, ...row, needsLogin: true };
}

const cid = optional(text(1, Limit.CID));
const message = text(1);

const NOTE = 0.1; // simple requests: what is only noted
const CHANGE = 2; // simple requests: a transaction of its own, where messages share theirs
const PAGE = 5; // simple requests: up to 1 MiB of an answer, but usually much less

const table: readonly RequestSpec[] = [
  open({
    msgid: Msg.LOGIN,
    name: "LOGIN_MSG",
    summary: "logs in, by `password` with `id` or `name`, or by a `token`",
    reply: Msg.LOGIN_ACK,
    classic: true,
    fields: {
      id: optional(id),
      name: optional(knownName),
      password: optional(text(1, Limit.PASSWORD)),
      token: optional(text(1, Limit.PASSWORD)),
      force: optional(flag),
    },
    handle: login,
  }),
  member({
    msgid: Msg.LOGOUT,
    name: "LOGINOUT_MSG",
    summary: "ends the session and its token",
    reply: Msg.ACK,
    classic: true,
    fields: {},
    handle: logout,
  }),
  open({
    msgid: Msg.REGISTER,
    name: "REG_MSG",
    summary: "makes an account",
    reply: Msg.REGISTER_ACK,
    classic: true,
    fields: { name, password: text(1, Limit.PASSWORD) },
    handle: register,
  }),
  member({
    msgid: Msg.ONE_CHAT,
    name: "ONE_CHAT_MSG",
    summary: "sends a message to a user",
    reply: Msg.ACK,
    classic: true,
    pipelined: true,
    fields: { toid: id, msg: message, cid },
    handle: oneChat,
  }),
  member({
    msgid: Msg.ADD_FRIEND,
    name: "ADD_FRIEND_MSG",
    summary: "puts a user on the sender's list of friends",
    reply: Msg.ACK,
    classic: true,
    cost: CHANGE,
    fields: { friendid: id },
    handle: addFriend,
  }),
  member({
    msgid: Msg.CREATE_GROUP,
    name: "CREATE_GROUP_MSG",
    summary: "makes a group, with the sender as its creator",
    reply: Msg.ACK,
    classic: true,
    cost: CHANGE,
    fields: { groupname: name, groupdesc: optional(text(0, Limit.GROUP_DESCRIPTION)) },
    handle: createGroup,
  }),
  member({
    msgid: Msg.ADD_GROUP,
    name: "ADD_GROUP_MSG",
    summary: "joins a group",
    reply: Msg.ACK,
    classic: true,
    cost: CHANGE,
    fields: { groupid: id },
    handle: joinGroup,
  }),
  member({
    msgid: Msg.GROUP_CHAT,
    name: "GROUP_CHAT_MSG",
    summary: "sends a message to all members of a group",
    reply: Msg.ACK,
    classic: true,
    pipelined: true,
    fields: { groupid: id, msg: message, cid },
    handle: groupChat,
  }),
  member({
    msgid: Msg.DELIVERED,
    name: "DELIVERED",
    summary: "says that the client has a conversation up to `seq`",
    reply: undefined,
    pipelined: true,
    cost: NOTE,
    fields: { id: optional(id), groupid: optional(id), seq: id },
    handle: delivered,
  }),
  member({
    msgid: Msg.HISTORY,
    name: "HISTORY",
    summary: "asks for a conversation's messages before a seq, or its latest",
    reply: Msg.HISTORY_ACK,
    cost: PAGE,
    fields: {
      id: optional(id),
      groupid: optional(id),
      before: optional(id),
      limit: optional(integer(1, MAX_HISTORY_PAGE)),
    },
    handle: history,
  }),
  open({
    msgid: Msg.PING,
    name: "PING",
    summary: "asks whether the other side is there",
    reply: Msg.PONG,
    pipelined: true,
    fields: {},
    handle: () => ({}),
  }),
  open({
    msgid: Msg.PONG,
    name: "PONG",
    summary: "answers the server's PING",
    reply: undefined,
    pipelined: true,
    cost: NOTE,
    fields: {},
    handle: () => undefined, // that it came is all that counts
  }),
  member({
    msgid: Msg.CONTACTS,
    name: "CONTACTS",
    summary: "asks for the current friends and groups",
    reply: Msg.CONTACTS_ACK,
    cost: PAGE,
    fields: {},
    handle: contacts,
  }),
  member({
    msgid: Msg.MEMBERS,
    name: "MEMBERS",
    summary: "asks for a group's members, by id",
    reply: Msg.MEMBERS_ACK,
    cost: PAGE,
    fields: {
      groupid: id,
      after: optional(integer(0, Limit.INTEGER)),
      limit: optional(integer(1, MAX_MEMBERS_PAGE)),
    },
    handle: members,
  }),
];

/** The table, by msgid. */
export const requests: ReadonlyMap<number, RequestSpec> = new Map(table.map((spec) => [spec.msgid, spec]));
