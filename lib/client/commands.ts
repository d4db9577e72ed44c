/** The commands that a user can type: one table, from which they are read, carried out and explained. */
import type { Message } from "../wire/message.ts";
import { FieldLimit, Msg } from "../wire/protocol.ts";
import { escapeControls, formatName, friendLines, groupLines, historyLines, type Style } from "./format.ts";
import { number, type Peer, readHistory, string } from "./incoming.ts";
import type { ChatSession } from "./session.ts";

/** Where a command is carried out. */
export interface CommandContext {
  readonly session: ChatSession;
  readonly style: Style;
  /** Shows the user what came of it. */
  print(text: string): void;
  /** Leaves: `quit` the program, or only the session. */
  leave(what: "program" | "session"): void;
}

/** What was typed is no command, or lacks something; the message says so. */
export class CommandError extends Error {
  override readonly name = "CommandError";
}

interface Command {
  readonly name: string;
  /** What follows the name, each after a colon; the last takes all that is left, colons too. */
  readonly fields: readonly string[];
  /** How many of them, from the end, may be left out. */
  readonly optional?: number;
  readonly help: string;
  execute(fields: readonly string[], context: CommandContext): Promise<void> | void;
}

const PAGE_SIZE = 20; // messages of a conversation that are shown at once: they fit a terminal

const COMMANDS: readonly Command[] = [
  {
    name: "help",
    fields: [],
    help: "show this list",
    execute: (_, { print }) => print(helpText()),
  },
  {
    name: "chat",
    fields: ["friendid", "message"],
    help: "send a message to a user",
    execute: ([id, message], context) => sendChat(toId(id), message, context),
  },
  {
    name: "addfriend",
    fields: ["friendid"],
    help: "put a user on your list of friends",
    execute: async ([id], { session, print, style }) => {
      const friendid = toId(id);
      const ack = await session.request({ msgid: Msg.ADD_FRIEND, friendid });
      const [name, state] = [string(ack.name), string(ack.state)];
      session.contacts.addFriend({ id: friendid, name, state, role: "" });
      print(`${formatName(friendid, name, style)} is on your list of friends, and ${escapeControls(state)}`);
    },
  },
  {
    name: "creategroup",
    fields: ["name", "desc"],
    optional: 1,
    help: "create a group",
    execute: async ([groupname = "", groupdesc = ""], { session, print, style }) => {
      const ack = await session.request({ msgid: Msg.CREATE_GROUP, groupname, groupdesc }, false);
      const id = number(ack.groupid);
      session.contacts.addGroup(id, groupname);
      print(`created the group ${formatName(id, groupname, style)}`);
    },
  },
  {
    name: "addgroup",
    fields: ["groupid"],
    help: "join a group",
    execute: async ([id], { session, print, style }) => {
      const groupid = toId(id);
      const ack = await session.request({ msgid: Msg.ADD_GROUP, groupid });
      const name = string(ack.groupname);
      session.contacts.addGroup(groupid, name);
      print(`joined the group ${formatName(groupid, name, style)}`);
    },
  },
  {
    name: "groupchat",
    fields: ["groupid", "message"],
    help: "send a message to a group",
    execute: ([id, message], context) => sendChat(-toId(id), message, context),
  },
  {
    name: "friends",
    fields: [],
    help: "show your friends",
    execute: async (_, { session, print, style }) => {
      await session.request({ msgid: Msg.CONTACTS });
      print(friendLines(session.contacts.friends, style));
    },
  },
  {
    name: "groups",
    fields: [],
    help: "show your groups and their members",
    execute: async (_, { session, print, style }) => {
      await session.request({ msgid: Msg.CONTACTS });
      print(groupLines(session.contacts.groups, style));
    },
  },
  {
    name: "history",
    fields: ["friendid", "seq"],
    optional: 1,
    help: `show the last ${PAGE_SIZE} messages with a user, or those before the one numbered seq`,
    execute: ([id, before], context) => history(toId(id), before, context),
  },
  {
    name: "grouphistory",
    fields: ["groupid", "seq"],
    optional: 1,
    help: "the same for a group",
    execute: ([id, before], context) => history(-toId(id), before, context),
  },
  {
    name: "loginout",
    fields: [],
    help: "log out",
    execute: (_, { leave }) => leave("session"),
  },
  {
    name: "quit",
    fields: [],
    help: "leave the program",
    execute: (_, { leave }) => leave("program"),
  },
];

/** Carries out what was typed. Rejects with {@link CommandError}, or as {@link ChatSession.request} says. */
export async function runCommand(line: string, context: CommandContext): Promise<void> {
  const [name, ...rest] = line.trimStart().split(":");
  const command = COMMANDS.find((command) => command.name === name!.trim());
  if (!command) throw new CommandError(`no such command: "${name}"; "help" shows all`);
  const { fields, optional = 0 } = command;
  const given = fields.length === 0 ? rest : split(rest, fields.length);
  const required = fields.length - optional;
  const complete = given.length >= required && !given.slice(0, required).includes("");
  if (!complete || given.length > fields.length) throw new CommandError(`usage: ${usage(command)}`);
  await command.execute(given, context);
}

/** Whether it begins a message, which then goes on to the text's end, however many lines that has. */
export function isChatCommand(text: string): boolean {
  return /^\s*(chat|groupchat)\s*:[^:\n]*:/.test(text);
}

/** The list of the commands. */
export function helpText(): string {
  const width = Math.max(...COMMANDS.map((command) => usage(command).length));
  return COMMANDS.map((command) => `  ${usage(command).padEnd(width)}  ${command.help}`).join("\n");
}

function usage({ name, fields, optional = 0 }: Command): string {
  return name +
    fields.map((field, at) => at < fields.length - optional ? `:${field}` : `[:${field}]`).join("");
}

/** The first fields, and in the last one all that is left. */
function split(parts: readonly string[], max: number): string[] {
  if (parts.length <= max) return [...parts];
  return [...parts.slice(0, max - 1), parts.slice(max - 1).join(":")];
}

function toId(field: string | undefined, name = "an id"): number {
  const id = /^\s*\d+\s*$/.test(field ?? "") ? Number(field) : 0;
  if (id >= 1 && id <= FieldLimit.INTEGER) return id;
  throw new CommandError(`${name} is a number from 1 to ${FieldLimit.INTEGER}, not "${field}"`);
}

async function sendChat(
  peer: Peer,
  text: string | undefined,
  { session, print, style }: CommandContext,
): Promise<void> {
  const ack: Message = await session.sendMessage(peer, text ?? "");
  const to = peer > 0 ? `${peer}` : `group ${-peer}`;
  print(style.dim(`sent to ${to} as #${number(ack.seq)}`));
}

async function history(peer: Peer, before: string | undefined, context: CommandContext): Promise<void> {
  const { session, print, style } = context;
  const conversation = peer > 0 ? { id: peer } : { groupid: -peer };
  const page = before === undefined ? {} : { before: toId(before, "a seq") };
  const reply = await session.request({ msgid: Msg.HISTORY, ...conversation, ...page, limit: PAGE_SIZE });
  print(historyLines(readHistory(reply, peer), session.contacts, style));
}
