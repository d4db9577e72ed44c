/** The classic dialect on its way out: what C++ clients can read without aborting. */
import { MAX_SERVER_FRAME, Msg } from "../../wire/protocol.ts";
import {
  type ChatMessage,
  type Dialect,
  fitRoster,
  jsonBytes,
  type ListedGroup,
  type Roster,
  type ServerMessage,
} from "./dialect.ts";
import { GatheringOutbox, PacedOutbox } from "../net/write_queue.ts";

const encoder = new TextEncoder();

/**
 * Control characters but tab and line feed: these clients write what they get to the terminal, which obeys an
 * ESC, or one of C1. A `?` in their place takes no more bytes than they did.
 */
const CONTROL = /[^\P{Cc}\t\n]/gu;

function clean(text: string): string {
  return text.replaceAll("\r\n", "\n").replace(CONTROL, "?");
}

/** The texts among a message's fields without control characters. */
function cleaned<T extends object>(fields: T): T {
  const texts = Object.entries(fields).filter((entry): entry is [string, string] =>
    typeof entry[1] === "string"
  );
  return { ...fields, ...Object.fromEntries(texts.map(([name, text]) => [name, clean(text)])) };
}

function cleanedRoster({ friends, groups }: Roster): Roster {
  return {
    friends: friends.map(cleaned),
    groups: groups.map((group) => ({ ...cleaned(group), users: group.users.map(cleaned) })),
  };
}

/**
 * Makes the classic dialect. `maxBytes` bounds each message with its NUL, 0 leaves it at the framed dialect's
 * bound; `gap` ms lie between two writes of one message each, 0 lets them run together.
 */
export function classicDialect(maxBytes: number, gap: number): Dialect {
  const room = (maxBytes || MAX_SERVER_FRAME) - 1; // for the JSON; the NUL takes a byte
  return {
    name: "classic",
    encode(message) {
      switch (message.msgid) {
        case Msg.ONE_CHAT:
        case Msg.GROUP_CHAT:
          return terminated(cut(message as ChatMessage, room));
        case Msg.LOGIN_ACK:
        case Msg.REGISTER_ACK: {
          const { rid: _, ...rest } = message; // these clients send none
          return terminated(cleaned(rest));
        }
        default:
          return undefined;
      }
    },
    withRoster(message, roster) {
      const { token: _, ...rest } = message; // no use to them, and every byte counts
      const whole = (fitted: Roster) => ({ ...rest, ...inStrings(fitted) });
      return whole(fitRoster(cleanedRoster(roster), (fitted) => jsonBytes(whole(fitted)) <= room));
    },
    gatherMissed(answer) {
      const offlinemsg: string[] = [];
      let left = room - jsonBytes({ ...answer, offlinemsg });
      return {
        add(missed) {
          const text = JSON.stringify(plain(missed));
          left -= jsonBytes(text) + (offlinemsg.length > 0 ? 1 : 0); // a comma between two
          if (left < 0) return false;
          offlinemsg.push(text);
          return true;
        },
        answer: () => offlinemsg.length > 0 ? { ...answer, offlinemsg } : answer,
      };
    },
    deliversByWriting: true,
    outbox: (sink) => gap > 0 ? new PacedOutbox(sink, gap) : new GatheringOutbox(sink),
  };
}

function terminated(message: ServerMessage): Uint8Array {
  return encoder.encode(JSON.stringify(message) + "\0");
}

/** Arrays of objects become arrays of strings, each an object as JSON; what is empty is left out. */
function inStrings(roster: Roster): Record<string, unknown> {
  return { ...listed("friends", roster.friends), ...listed("groups", roster.groups.map(groupInStrings)) };
}

function groupInStrings({ members: _, users, ...group }: ListedGroup): Record<string, unknown> {
  return { ...group, ...listed("users", users) };
}

function listed(name: string, items: readonly unknown[]): Record<string, string[]> {
  return items.length === 0 ? {} : { [name]: items.map((item) => JSON.stringify(item)) };
}

/** What these clients know of a message, with the time in words. */
function plain({ seq: _, cid: __, ...message }: ChatMessage): ServerMessage & { msg: string } {
  return { ...cleaned(message), time: wallClock(message.time) };
}

/** `YYYY-MM-DD HH:MM:SS` in the server's time zone, as the C++ servers wrote it. */
export function wallClock(time: number): string {
  const date = new Date(time);
  const two = (number: number) => String(number).padStart(2, "0");
  const day = [date.getFullYear(), two(date.getMonth() + 1), two(date.getDate())].join("-");
  return `${day} ${two(date.getHours())}:${two(date.getMinutes())}:${two(date.getSeconds())}`;
}

/** A message of at most `room` bytes: a longer `msg` is cut between two characters and ends in `…`. */
function cut(message: ChatMessage, room: number): ServerMessage {
  const whole = plain(message);
  if (jsonBytes(whole) <= room) return whole;
  let left = room - jsonBytes({ ...whole, msg: "…" });
  let kept = "";
  for (const character of whole.msg) {
    left -= jsonBytes(character) - 2; // without its quotes
    if (left < 0) break;
    kept += character;
  }
  return { ...whole, msg: kept + "…" };
}
