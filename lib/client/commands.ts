/** The commands that a user can type: one table, from which they are read, carried out and explained. */
import type { Message } from "../wire/message.ts";
import { Limit, Msg } from "../wire/protocol.ts";
import { friendLines, groupLines, harmless, historyLines, person, type Style } from "./format.ts";
import { number, type Peer, readHistory, string } from "./incoming.ts";
import type { Session } from "./session.ts";

/** Where a command is carried out. */
export interface Context {
  readonly session: Session;
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
  run(fields: readonly string[], context: Context): Promise<void> | void;
}

const PAGE = 20; // messages of a conversation that are shown at once: they fit a terminal

const COMMANDS: readonly Command[] = [
  {
    name: "help",
    fields: [],
    help: "show this list",
    run: (_, { print }) => print(helpText()),
  },
  {
    name: "chat",
    fields: ["friendid", "message"],
    help: "send a message to a user",
    run: ([id, message], context) => say(toId(id), message, context),
  },
  {
    name: "addfriend",
    fields: ["friendid"],
    help: "put a user on your list of friends",
    run: async ([id], { session, print, style }) => {
      const friendid = toId(id);
      const ack = await session.ask({ msgid: Msg.ADD_FRIEND, friendid });
      const [name, state] = [string(ack.name), string(ack.state)];
      session.contacts.befriend({ id: friendid, name, state, role: "" });
      print(`${person(friendid, name, style)} is on your list of friends, and ${harmless(state)}`);
    },
  },
  {
    name: "creategroup",
    fields: ["name", "desc"],
    optional: 1,
    help: "create a group",
    run: async ([groupname = "", groupdesc = ""], { session, print, style }) => {
      const ack = await session.ask({ msgid: Msg.CREATE_GROUP, groupname, groupdesc }, false);
      const id = number(ack.groupid);
      session.contacts.join(id, groupname);
      print(`created the group ${person(id, groupname, style)}`);
    },
  },
  {
    name: "addgroup",
    fields: ["groupid"],
    help: "join a group",
    run: async ([id], { session, print, style }) => {
      const groupid = toId(id);
      const ack = await session.ask({ msgid: Msg.ADD_GROUP, groupid });
      const name = string(ack.groupname);
      session.contacts.join(groupid, name);
      print(`joined the group ${person(groupid, name, style)}`);
    },
  },
  {
    name: "groupchat",
    fields: ["groupid", "message"],
    help: "send a message to a group",
    run: ([id, message], context) => say(-toId(id), message, context),
  },
  {
    name: "friends",
    fields: [],
    help: "show your friends",
    run: async (_, { session, print, style }) => {
      await session.ask({ msgid: Msg.CONTACTS });
      print(friendLines(session.contacts.friends, style));
    },
  },
  {
    name: "groups",
    fields: [],
    help: "show your groups and their members",
    run: async (_, { session, print, style }) => {
      await session.ask({ msgid: Msg.CONTACTS });
      print(groupLines(session.contacts.groups, style));
    },
  },
  {
    name: "history",
    fields: ["friendid", "seq"],
    optional: 1,
    help: `show the last ${PAGE} messages with a user, or those before the one numbered seq`,
    run: ([id, before], context) => history(toId(id), before, context),
  },
  {
    name: "grouphistory",
    fields: ["groupid", "seq"],
    optional: 1,
    help: "the same for a group",
    run: ([id, before], context) => history(-toId(id), before, context),
  },
  {
    name: "loginout",
    fields: [],
    help: "log out",
    run: (_, { leave }) => leave("session"),
  },
  {
    name: "quit",
    fields: [],
    help: "leave the program",
    run: (_, { leave }) => leave("program"),
  },
];

/** Carries out what was typed. Rejects with {@link CommandError}, or as {@link Session.ask} says. */
export async function run(line: string, context: Context): Promise<void> {
  const [name, ...rest] = line.trimStart().split(":");
  const command = COMMANDS.find((command) => command.name === name!.trim());
  if (!command) throw new CommandError(`no such command: "${name}"; "help" shows all`);
  const { fields, optional = 0 } = command;
  const given = fields.length === 0 ? rest : split(rest, fields.length);
  const required = fields.length - optional;
  const complete = given.length >= required && !given.slice(0, required).includes("");
  if (!complete || given.length > fields.length) throw new CommandError(`usage: ${usage(command)}`);
  await command.run(given, context);
}

/** Whether it begins a message, which then goes on to the text's end, however many lines that has. */
export function isMessage(text: string): boolean {
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
function split(parts: readonly string[], most: number): string[] {
  if (parts.length <= most) return [...parts];
  return [...parts.slice(0, most - 1), parts.slice(most - 1).join(":")];
}

function toId(field: string | undefined, what = "an id"): number {
  const id = /^\s*\d+\s*$/.test(field ?? "") ? Number(field) : 0;
  if (id >= 1 && id <= Limit.INTEGER) return id;
  throw new CommandError(`${what} is a number from 1 to ${Limit.INTEGER}, not "${field}"`);
}

async function say(peer: Peer, text: string | undefined, { session, print, style }: Context): Promise<void> {
  const ack: Message = await session.say(peer, text ?? "");
  const to = peer > 0 ? `${peer}` : `group ${-peer}`;
  print(style.dim(`sent to ${to} as #${number(ack.seq)}`));
}

async function history(peer: Peer, before: string | undefined, context: Context): Promise<void> {
  const { session, print, style } = context;
  const whose = peer > 0 ? { id: peer } : { groupid: -peer };
  const page = before === undefined ? {} : { before: toId(before, "a seq") };
  const reply = await session.ask({ msgid: Msg.HISTORY, ...whose, ...page, limit: PAGE });
  print(historyLines(readHistory(reply, peer), session.contacts, style));
}
