/** How things look as text. What others have written is made harmless to a terminal here. */
import type { Message } from "../wire/message.ts";
import { Msg } from "../wire/protocol.ts";
import type { Contacts } from "./contacts.ts";
import { envVariable } from "./permissions.ts";
import { type ChatMessage, type Group, number, readChat, string, type User } from "./incoming.ts";

/** How text is set off. */
export interface Style {
  /** For what matters less: times, ids, who came and went. */
  dim(text: string): string;
  /** For what is looked for first: names. */
  strong(text: string): string;
  /** For what went wrong. */
  alarm(text: string): string;
}

/** Text as it is. */
export const PLAIN_STYLE: Style = { dim: (text) => text, strong: (text) => text, alarm: (text) => text };

/** Text with a terminal's colours. */
const COLOUR_STYLE: Style = {
  dim: (text) => `\x1b[2m${text}\x1b[22m`,
  strong: (text) => `\x1b[1;36m${text}\x1b[22;39m`,
  alarm: (text) => `\x1b[31m${text}\x1b[39m`,
};

/** Colours on a terminal, unless the user's environment has NO_COLOR. */
export function styleFor(stdout: { isTerminal(): boolean }): Style {
  return stdout.isTerminal() && !envVariable("NO_COLOR") ? COLOUR_STYLE : PLAIN_STYLE;
}

// Control characters command a terminal; those that turn the direction of writing make it show what isn't there.
const CONTROLS = /[\p{Cc}\u061c\u200e\u200f\u2028-\u202e\u2066-\u2069]/gu;
const CONTROL_PICTURES = 0x2400; // ␀, ␁, … stand for the first 32
const DELETE = 0x7f;

/** The text with its control characters made visible. */
export function escapeControls(text: string): string {
  return text.replace(CONTROLS, (character) => {
    const code = character.charCodeAt(0);
    if (code < 0x20) return String.fromCharCode(CONTROL_PICTURES + code);
    return code === DELETE ? "\u2421" : `<${hex(code)}>`;
  });
}

/**
 * A message of the server's as one line of JSON in which control characters are escaped. The session's token is left
 * out unless `showToken` says otherwise: the line may end up in a log, and the token is as good as the password.
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

/** A span of milliseconds in words, rounded up to seconds. */
export function formatSeconds(ms: number): string {
  return `${Math.ceil(ms / 1_000)} s`;
}

/** Milliseconds since 1970 as local hours and minutes, with the date if it isn't today. */
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

/** What came from the server as a line for the user; undefined if it is nothing to show by itself. */
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

/** A chat message: when, who, where if it is in a group, and what. */
function chatLine(chat: ChatMessage, contacts: Contacts, style: Style): string {
  const group = contacts.groups.find(({ id }) => id === -chat.peer);
  const place = chat.peer < 0 ? ` in ${formatName(-chat.peer, group?.name ?? "group", style)}` : "";
  const sender = formatName(chat.id, chat.name, style);
  return `${style.dim(`[${formatTime(chat.time)}]`)} ${sender}${place}: ${escapeControls(chat.text)}`;
}

/** Part of a conversation with its seqs, which `history` takes to go further back. */
export function historyLines(chats: readonly ChatMessage[], contacts: Contacts, style: Style): string {
  if (chats.length === 0) return style.dim("no messages");
  return chats.map((chat) => `${style.dim(`#${chat.seq}`)} ${chatLine(chat, contacts, style)}`).join("\n");
}

/** The list of friends. */
export function friendLines(friends: readonly User[], style: Style): string {
  if (friends.length === 0) return "Friends: none yet";
  return ["Friends:", ...friends.map((friend) => `  ${userText(friend, style)}`)].join("\n");
}

/** The list of groups with their members. */
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

/** A user, or a group, by name and id. */
export function formatName(id: number, name: string, style: Style): string {
  return `${style.strong(escapeControls(name || "user"))} ${style.dim(`(${id})`)}`;
}
