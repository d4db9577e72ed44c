/** Texts for the user. Control characters in texts of other users are made visible here. */
import type { Message } from "../wire/message.ts";
import { Msg } from "../wire/protocol.ts";
import type { Contacts } from "./contacts.ts";
import { envVariable } from "./permissions.ts";
import { type ChatMessage, type Group, number, readChat, string, type User } from "./incoming.ts";

/** The highlighting of text. */
export interface Style {
  /** Marks details: times, ids, presence. */
  dim(text: string): string;
  /** Marks names. */
  strong(text: string): string;
  /** Marks errors. */
  alarm(text: string): string;
}

/** Text without highlighting. */
export const PLAIN_STYLE: Style = { dim: (text) => text, strong: (text) => text, alarm: (text) => text };

/** Text in a terminal's colours. */
const COLOUR_STYLE: Style = {
  dim: (text) => `\x1b[2m${text}\x1b[22m`,
  strong: (text) => `\x1b[1;36m${text}\x1b[22;39m`,
  alarm: (text) => `\x1b[31m${text}\x1b[39m`,
};

/** Returns the style with colours on a terminal, unless NO_COLOR is set. */
export function styleFor(stdout: { isTerminal(): boolean }): Style {
  return stdout.isTerminal() && !envVariable("NO_COLOR") ? COLOUR_STYLE : PLAIN_STYLE;
}

// Control characters steer a terminal. Those of bidirectional text can hide or reorder characters.
const CONTROLS = /[\p{Cc}\u061c\u200e\u200f\u2028-\u202e\u2066-\u2069]/gu;
const CONTROL_PICTURES = 0x2400; // code point of ␀, the picture of the first control character
const DELETE = 0x7f;

/** Returns the text with its control characters made visible. */
export function escapeControls(text: string): string {
  return text.replace(CONTROLS, (character) => {
    const code = character.charCodeAt(0);
    if (code < 0x20) return String.fromCharCode(CONTROL_PICTURES + code);
    return code === DELETE ? "\u2421" : `<${hex(code)}>`;
  });
}

/**
 * Returns a message of the server as one line of JSON with escaped control characters. The session's token is
 * in it only with `showToken`: the line may get into a log, and the token replaces the password.
 */
export function toJson(message: Message, showToken = false): string {
  const { token: _, ...rest } = message;
  return JSON.stringify(showToken ? message : rest).replace(
    CONTROLS,
    (character) => `\\u${hex(character.charCodeAt(0))}`,
  );
}

function hex(code: number): string {
  return code.toString(16).padStart(4, "0");
}

/** Returns a time in milliseconds as text, rounded up to seconds. */
export function formatSeconds(ms: number): string {
  return `${Math.ceil(ms / 1_000)} s`;
}

/**
 * Returns a time in milliseconds since 1970 as local hours and minutes, with the date unless it is today's.
 */
export function formatTime(time: number, now = new Date()): string {
  const then = new Date(time);
  const [hours, minutes] = [twoDigits(then.getHours()), twoDigits(then.getMinutes())];
  if (then.toDateString() === now.toDateString()) return `${hours}:${minutes}`;
  return `${then.getFullYear()}-${twoDigits(then.getMonth() + 1)}-${
    twoDigits(then.getDate())
  } ${hours}:${minutes}`;
}

function twoDigits(value: number): string {
  return String(value).padStart(2, "0");
}

/** Returns the line that shows a message of the server, or undefined if the user need not see the message. */
export function formatMessage(message: Message, contacts: Contacts, style: Style): string | undefined {
  const chat = readChat(message, contacts.id);
  if (chat) return chatLine(chat, contacts, style);
  if (message.msgid === Msg.PRESENCE) {
    const id = number(message.id);
    const user = formatName(id, contacts.friend(id)?.name ?? "", PLAIN_STYLE);
    return style.dim(`* ${user} is ${escapeControls(string(message.state))}`);
  }
  return undefined;
}

/** Returns the line of a chat message: its time, its sender, its group and its text. */
function chatLine(chat: ChatMessage, contacts: Contacts, style: Style): string {
  const group = contacts.groups.find(({ id }) => id === -chat.peer);
  const place = chat.peer < 0 ? ` in ${formatName(-chat.peer, group?.name ?? "group", style)}` : "";
  const sender = formatName(chat.id, chat.name, style);
  return `${style.dim(`[${formatTime(chat.time)}]`)} ${sender}${place}: ${escapeControls(chat.text)}`;
}

/** Returns the lines of a part of a conversation, with the seqs that the command `history` takes. */
export function historyLines(chats: readonly ChatMessage[], contacts: Contacts, style: Style): string {
  if (chats.length === 0) return style.dim("no messages");
  return chats.map((chat) => `${style.dim(`#${chat.seq}`)} ${chatLine(chat, contacts, style)}`).join("\n");
}

/** Returns the list of friends. */
export function friendLines(friends: readonly User[], style: Style): string {
  if (friends.length === 0) return "Friends: none yet";
  return ["Friends:", ...friends.map((friend) => `  ${userText(friend, style)}`)].join("\n");
}

/** Returns the list of groups with their members. */
export function groupLines(groups: readonly Group[], style: Style): string {
  if (groups.length === 0) return "Groups: none yet";
  return ["Groups:", ...groups.map((group) => groupText(group, style))].join("\n");
}

function groupText({ id, name, description, members, users }: Group, style: Style): string {
  const about = description ? ` ${style.dim(escapeControls(description))}` : "";
  const more = members > users.length ? [`    … and ${members - users.length} more`] : [];
  const lines = users.map((user) => `    ${userText(user, style)}`);
  return [`  ${formatName(id, name, style)}${about}`, ...lines, ...more].join("\n");
}

function userText({ id, name, state, role }: User, style: Style): string {
  return [formatName(id, name, style), escapeControls(state), escapeControls(role)].filter((word) =>
    word !== ""
  ).join(" ");
}

const MAX_EXCERPT_LENGTH = 40; // characters: enough to recognize a line

/** Returns a quoted line for an error message, cut to {@link MAX_EXCERPT_LENGTH} characters. */
export function quoteExcerpt(line: string): string {
  const characters = [...line];
  const isLong = characters.length > MAX_EXCERPT_LENGTH;
  return `"${isLong ? `${characters.slice(0, MAX_EXCERPT_LENGTH - 1).join("")}…` : line}"`;
}

/** Returns the error about commands without a reply. */
export function unansweredText(count: number): string {
  return `the server did not reply to ${count} ${count === 1 ? "command" : "commands"}`;
}

/** Returns the name and id of a user or a group. */
export function formatName(id: number, name: string, style: Style): string {
  return `${style.strong(escapeControls(name || "user"))} ${style.dim(`(${id})`)}`;
}
