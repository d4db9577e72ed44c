/** The encoding of the classic dialect, which C++ clients can read without aborting. */
import { MAX_SERVER_FRAME_BYTES, Msg } from "../../wire/protocol.ts";
import {
  type ChatMessage,
  type Dialect,
  fitRoster,
  jsonByteLength,
  type ListedGroup,
  type Roster,
  type ServerMessage,
} from "./dialect.ts";

const encoder = new TextEncoder();

/**
 * Control characters except tab and line feed. These clients write texts to the terminal, which obeys escape
 * sequences. The `?` that replaces a control character is not longer.
 */
const CONTROL = /[^\P{Cc}\t\n]/gu;

function sanitizeText(text: string): string {
  return text.replaceAll("\r\n", "\n").replace(CONTROL, "?");
}

/** Returns the fields with their control characters replaced. */
function sanitizeFields<T extends object>(fields: T): T {
  const texts = Object.entries(fields).filter((entry): entry is [string, string] =>
    typeof entry[1] === "string"
  );
  return { ...fields, ...Object.fromEntries(texts.map(([name, text]) => [name, sanitizeText(text)])) };
}

function sanitizeRoster({ friends, groups }: Roster): Roster {
  return {
    friends: friends.map(sanitizeFields),
    groups: groups.map((group) => ({ ...sanitizeFields(group), users: group.users.map(sanitizeFields) })),
  };
}

/**
 * Returns the classic dialect. `maxBytes` bounds each message with its NUL; 0 is the bound of the framed
 * dialect.
 * See {@link Dialect.writeIntervalMs}.
 */
export function classicDialect(maxBytes: number, writeIntervalMs: number): Dialect {
  const maxJsonBytes = (maxBytes || MAX_SERVER_FRAME_BYTES) - 1; // without the NUL at the end
  return {
    name: "classic",
    encode(message) {
      switch (message.msgid) {
        case Msg.ONE_CHAT:
        case Msg.GROUP_CHAT:
          return encodeTerminated(truncate(message as ChatMessage, maxJsonBytes));
        case Msg.LOGIN_ACK:
        case Msg.REGISTER_ACK: {
          const { rid: _, ...rest } = message; // these clients send no rid
          return encodeTerminated(sanitizeFields(rest));
        }
        default:
          return undefined;
      }
    },
    withRoster(message, roster) {
      const { token: _, ...rest } = message; // these clients cannot use it, and the message is short
      const full = (fitted: Roster) => ({ ...rest, ...stringifyRoster(fitted) });
      return full(
        fitRoster(sanitizeRoster(roster), (fitted) => jsonByteLength(full(fitted)) <= maxJsonBytes),
      );
    },
    buildBacklog(reply) {
      const offlinemsg: string[] = [];
      let left = maxJsonBytes - jsonByteLength({ ...reply, offlinemsg });
      return {
        add(message) {
          const text = JSON.stringify(toClassicMessage(message));
          left -= jsonByteLength(text) + (offlinemsg.length > 0 ? 1 : 0); // a comma between two
          if (left < 0) return false;
          offlinemsg.push(text);
          return true;
        },
        build: () => offlinemsg.length > 0 ? { ...reply, offlinemsg } : reply,
      };
    },
    ackOnWrite: true,
    writeIntervalMs,
  };
}

function encodeTerminated(message: ServerMessage): Uint8Array {
  return encoder.encode(JSON.stringify(message) + "\0");
}

/** Returns the lists of a roster as arrays of JSON strings, without the empty lists. */
function stringifyRoster(roster: Roster): Record<string, unknown> {
  return {
    ...stringifyList("friends", roster.friends),
    ...stringifyList("groups", roster.groups.map(stringifyGroup)),
  };
}

function stringifyGroup({ members: _, users, ...group }: ListedGroup): Record<string, unknown> {
  return { ...group, ...stringifyList("users", users) };
}

function stringifyList(name: string, items: readonly unknown[]): Record<string, string[]> {
  return items.length === 0 ? {} : { [name]: items.map((item) => JSON.stringify(item)) };
}

/** Returns the fields of a message that these clients know, with the time as text. */
function toClassicMessage({ seq: _, cid: __, ...message }: ChatMessage): ServerMessage & { msg: string } {
  return { ...sanitizeFields(message), time: formatLocalTime(message.time) };
}

/** Returns the time as `YYYY-MM-DD HH:MM:SS` in the server's time zone, as the C++ servers send it. */
export function formatLocalTime(time: number): string {
  const date = new Date(time);
  const pad2 = (number: number) => String(number).padStart(2, "0");
  const day = [date.getFullYear(), pad2(date.getMonth() + 1), pad2(date.getDate())].join("-");
  return `${day} ${pad2(date.getHours())}:${pad2(date.getMinutes())}:${pad2(date.getSeconds())}`;
}

/**
 * Returns a message of at most `maxJsonBytes`: a longer `msg` is truncated between two characters, and ends
 * in `…`.
 */
function truncate(message: ChatMessage, maxJsonBytes: number): ServerMessage {
  const full = toClassicMessage(message);
  if (jsonByteLength(full) <= maxJsonBytes) return full;
  let left = maxJsonBytes - jsonByteLength({ ...full, msg: "…" });
  let truncated = "";
  for (const character of full.msg) {
    left -= jsonByteLength(character) - 2; // without its quotes
    if (left < 0) break;
    truncated += character;
  }
  return { ...full, msg: truncated + "…" };
}
