/** The commands of the client, in one table: their syntax, their help and their execution. */
import type { Message } from "../wire/message.ts";
import { FieldLimit, Msg } from "../wire/protocol.ts";
import { escapeControls, formatName, friendLines, groupLines, historyLines, type Style } from "./format.ts";
import { number, type Peer, readHistory, string } from "./incoming.ts";
import type { ChatSession } from "./session.ts";

/** The parts of the client that commands use. */
export interface CommandContext {
  readonly session: ChatSession;
  readonly style: Style;
  /** Shows a result to the user. */
  print(text: string): void;
  /** Leaves the program, or only the session. */
  leave(what: "program" | "session"): void;
}

/** A line that is not a valid command. */
export class CommandError extends Error {
  override readonly name = "CommandError";
}

interface Command {
  readonly name: string;
  /** Other names that users may expect. */
  readonly aliases?: readonly string[];
  /**
   * The fields after the name, each after a colon. The last field contains the rest of the line, with its
   * colons.
   */
  readonly fields: readonly string[];
  /** The number of fields at the end that may be absent. */
  readonly optional?: number;
  readonly help: string;
  /** Whether the command works without a connection. */
  readonly isLocal?: true;
  execute(fields: readonly string[], context: CommandContext): Promise<void> | void;
}

const PAGE_SIZE = 20; // messages of a conversation that a terminal shows at once

const COMMANDS: readonly Command[] = [
  {
    name: "help",
    aliases: ["?"],
    fields: [],
    help: "show this list",
    isLocal: true,
    execute: (_, { print }) => print(helpText()),
  },
  {
    name: "chat",
    fields: ["friendid", "message"],
    help: "send a message to a user",
    execute: ([id, message], context) => sendChat(toOtherUser(id, context.session), message, context),
  },
  {
    name: "addfriend",
    fields: ["friendid"],
    help: "add a user to your friends",
    execute: async ([id], { session, print, style }) => {
      const friendid = toOtherUser(id, session);
      const ack = await session.request({ msgid: Msg.ADD_FRIEND, friendid });
      const [name, state] = [string(ack.name), string(ack.state)];
      session.contacts.addFriend({ id: friendid, name, state, role: "" });
      print(`${formatName(friendid, name, style)} is now your friend, and ${escapeControls(state)}`);
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
    help: `show the last ${PAGE_SIZE} messages, or those before seq`,
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
    aliases: ["logout"],
    fields: [],
    help: "log out",
    isLocal: true,
    execute: (_, { leave }) => leave("session"),
  },
  {
    name: "quit",
    aliases: ["exit"],
    fields: [],
    help: "leave the program",
    isLocal: true,
    execute: (_, { leave }) => leave("program"),
  },
];

/**
 * Runs the command in a line. Rejects with {@link CommandError}, and for the reasons of
 * {@link ChatSession.request}.
 */
export async function runCommand(line: string, context: CommandContext): Promise<void> {
  const rest = line.split(":").slice(1);
  const command = findCommand(line);
  if (!command) throw new CommandError('no such command; "help" lists all');
  const { fields, optional = 0 } = command;
  const given = fields.length === 0 ? rest : split(rest, fields.length);
  const required = fields.length - optional;
  const complete = given.length >= required && !given.slice(0, required).includes("");
  if (!complete || given.length > fields.length) throw new CommandError(`usage: ${usage(command)}`);
  await command.execute(given, context);
}

/** Returns the command that a line begins with, in any case and also after a slash. */
function findCommand(line: string): Command | undefined {
  const name = line.split(":", 1)[0]!.trim().replace(/^\//, "").toLowerCase();
  return COMMANDS.find((command) => command.name === name || command.aliases?.includes(name));
}

/** Returns whether the line is a command that needs the server, and so waits for a connection. */
export function needsServer(line: string): boolean {
  const command = findCommand(line);
  return command !== undefined && !command.isLocal;
}

/** Returns whether a text begins with a chat command, whose message then has all lines of the text. */
export function isChatCommand(text: string): boolean {
  return /^\s*\/?(chat|groupchat)\s*:[^:\n]*:/i.test(text);
}

/** Returns the list of the commands. */
export function helpText(): string {
  const width = Math.max(...COMMANDS.map((command) => usage(command).length));
  return COMMANDS.map((command) => `  ${usage(command).padEnd(width)}  ${command.help}`).join("\n");
}

function usage({ name, fields, optional = 0 }: Command): string {
  return name +
    fields.map((field, at) => at < fields.length - optional ? `:${field}` : `[:${field}]`).join("");
}

/** Returns at most `max` fields, of which the last contains the rest. */
function split(parts: readonly string[], max: number): string[] {
  if (parts.length <= max) return [...parts];
  return [...parts.slice(0, max - 1), parts.slice(max - 1).join(":")];
}

function toId(field: string | undefined, name = "an id"): number {
  const id = /^\s*\d+\s*$/.test(field ?? "") ? Number(field) : 0;
  if (id >= 1 && id <= FieldLimit.INTEGER) return id;
  throw new CommandError(`${name} is a number from 1 to ${FieldLimit.INTEGER}, not "${field}"`);
}

/** Returns the id of a user other than the session's own. Throws {@link CommandError}. */
function toOtherUser(field: string | undefined, session: ChatSession): number {
  const id = toId(field);
  if (id === session.contacts.id) throw new CommandError(`${id} is your own id`);
  return id;
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
