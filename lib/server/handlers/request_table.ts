/**
 * The table of all requests: the id and name of each, its fields with their checks, its reply, whether it
 * needs a login, and its handler. Validation, dispatch and the reference in docs/PROTOCOL.md come from it.
 */
import { FieldLimit, MAX_HISTORY_PAGE, MAX_MEMBERS_PAGE, Msg, type Rid } from "../../wire/protocol.ts";
import type { HandlerResult, RequestSpec } from "../protocol/request_spec.ts";
import type { Client } from "../sessions/client.ts";
import {
  boolean,
  existingName,
  id,
  integer,
  newName,
  optional,
  type Schema,
  type SchemaValues,
  text,
} from "../protocol/validators.ts";
import { groupChat, oneChat } from "./chat.ts";
import { contacts } from "./contacts.ts";
import { delivered } from "./delivered.ts";
import { addFriend } from "./friends.ts";
import { createGroup, joinGroup, members } from "./groups.ts";
import { history } from "./history.ts";
import { login } from "./login.ts";
import { logout } from "./logout.ts";
import { register } from "./register.ts";
import type { Session } from "../sessions/session.ts";

type Spec = RequestSpec<Client>;

type Row<F extends Schema> =
  & Omit<Spec, "needsLogin" | "concurrent" | "classic" | "cost" | "isPage" | "handle" | "fields">
  & {
    readonly classic?: true;
    readonly concurrent?: true;
    readonly cost?: number; // 1 by default
    readonly isPage?: true;
    readonly fields: F;
  };

const DEFAULTS = { classic: false, concurrent: false, cost: 1, isPage: false };

/** Returns the row of a request that needs no login. */
function anonymous<F extends Schema>(
  row: Row<F> & { handle(client: Client, fields: SchemaValues<F>, rid: Rid | undefined): HandlerResult },
): Spec {
  const handle: Spec["handle"] = (client, _session, fields, rid) => row.handle(client, fields, rid);
  return { ...DEFAULTS, ...row, needsLogin: false, handle };
}

/** Returns the row of a request that needs a login. */
function authenticated<F extends Schema>(
  row: Row<F> & {
    handle(client: Client, session: Session, fields: SchemaValues<F>, rid: Rid | undefined): HandlerResult;
  },
): Spec {
  return { ...DEFAULTS, ...row, needsLogin: true };
}

const cid = optional(text(1, FieldLimit.CID));
const message = text(1);

// Prices, in simple requests.
const NOTIFY_COST = 0.1; // no store call at once, and no reply
const WRITE_COST = 2; // a transaction of its own, where messages share theirs
const PAGE_COST = 5; // a reply of up to 1 MiB, but usually much less

const specs: readonly Spec[] = [
  anonymous({
    msgid: Msg.LOGIN,
    name: "LOGIN_MSG",
    summary: "logs in, by `password` with `id` or `name`, or by a `token`",
    reply: Msg.LOGIN_ACK,
    classic: true,
    fields: {
      id: optional(id),
      name: optional(existingName),
      password: optional(text(1, FieldLimit.PASSWORD)),
      token: optional(text(1, FieldLimit.PASSWORD)),
      force: optional(boolean),
    },
    handle: login,
  }),
  authenticated({
    msgid: Msg.LOGOUT,
    name: "LOGINOUT_MSG",
    summary: "ends the session and its token",
    reply: Msg.ACK,
    classic: true,
    fields: {},
    handle: logout,
  }),
  anonymous({
    msgid: Msg.REGISTER,
    name: "REG_MSG",
    summary: "makes an account",
    reply: Msg.REGISTER_ACK,
    classic: true,
    fields: { name: newName, password: text(1, FieldLimit.PASSWORD) },
    handle: register,
  }),
  authenticated({
    msgid: Msg.ONE_CHAT,
    name: "ONE_CHAT_MSG",
    summary: "sends a message to a user",
    reply: Msg.ACK,
    classic: true,
    concurrent: true,
    fields: { toid: id, msg: message, cid },
    handle: oneChat,
  }),
  authenticated({
    msgid: Msg.ADD_FRIEND,
    name: "ADD_FRIEND_MSG",
    summary: "puts a user on the sender's list of friends",
    reply: Msg.ACK,
    classic: true,
    cost: WRITE_COST,
    fields: { friendid: id },
    handle: addFriend,
  }),
  authenticated({
    msgid: Msg.CREATE_GROUP,
    name: "CREATE_GROUP_MSG",
    summary: "makes a group, with the sender as its creator",
    reply: Msg.ACK,
    classic: true,
    cost: WRITE_COST,
    fields: { groupname: newName, groupdesc: optional(text(0, FieldLimit.GROUP_DESCRIPTION)) },
    handle: createGroup,
  }),
  authenticated({
    msgid: Msg.ADD_GROUP,
    name: "ADD_GROUP_MSG",
    summary: "joins a group",
    reply: Msg.ACK,
    classic: true,
    cost: WRITE_COST,
    fields: { groupid: id },
    handle: joinGroup,
  }),
  authenticated({
    msgid: Msg.GROUP_CHAT,
    name: "GROUP_CHAT_MSG",
    summary: "sends a message to all members of a group",
    reply: Msg.ACK,
    classic: true,
    concurrent: true,
    fields: { groupid: id, msg: message, cid },
    handle: groupChat,
  }),
  authenticated({
    msgid: Msg.DELIVERED,
    name: "DELIVERED",
    summary: "says that the client has a conversation up to `seq`",
    reply: undefined,
    concurrent: true,
    cost: NOTIFY_COST,
    fields: { id: optional(id), groupid: optional(id), seq: id },
    handle: delivered,
  }),
  authenticated({
    msgid: Msg.HISTORY,
    name: "HISTORY",
    summary: "asks for a conversation's messages before a seq, or its latest",
    reply: Msg.HISTORY_ACK,
    cost: PAGE_COST,
    isPage: true,
    fields: {
      id: optional(id),
      groupid: optional(id),
      before: optional(id),
      limit: optional(integer(1, MAX_HISTORY_PAGE)),
    },
    handle: history,
  }),
  anonymous({
    msgid: Msg.PING,
    name: "PING",
    summary: "asks whether the other side is there",
    reply: Msg.PONG,
    concurrent: true,
    fields: {},
    handle: () => ({}),
  }),
  anonymous({
    msgid: Msg.PONG,
    name: "PONG",
    summary: "answers the server's PING",
    reply: undefined,
    concurrent: true,
    cost: NOTIFY_COST,
    fields: {},
    handle: () => undefined, // its bytes have been noted as a sign of life
  }),
  authenticated({
    msgid: Msg.CONTACTS,
    name: "CONTACTS",
    summary: "asks for the current friends and groups",
    reply: Msg.CONTACTS_ACK,
    cost: PAGE_COST,
    isPage: true,
    fields: {},
    handle: contacts,
  }),
  authenticated({
    msgid: Msg.MEMBERS,
    name: "MEMBERS",
    summary: "asks for a group's members, by id",
    reply: Msg.MEMBERS_ACK,
    cost: PAGE_COST,
    isPage: true,
    fields: {
      groupid: id,
      after: optional(integer(0, FieldLimit.INTEGER)),
      limit: optional(integer(1, MAX_MEMBERS_PAGE)),
    },
    handle: members,
  }),
];

/** The table, by msgid. */
export const requestTable: ReadonlyMap<number, Spec> = new Map(
  specs.map((spec) => [spec.msgid, spec]),
);
