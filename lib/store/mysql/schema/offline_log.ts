/** Builds conversations, with order and cursors, from rows of OfflineMessage. */
import { type OfflineText, readOfflineText, type SkipReason } from "./offline_text.ts";

/** A row of OfflineMessage. */
export interface OfflineRow {
  /** The number of the row, which gives the order. */
  readonly number: number;
  readonly userid: number;
  readonly message: string;
}

/** The users and groups that exist. */
export interface Directory {
  readonly users: ReadonlySet<number>;
  /** The members of each group. */
  readonly groups: ReadonlyMap<number, ReadonlySet<number>>;
}

/** A message of a conversation. Its seq is its position, counted from 1. */
export interface LogMessage {
  readonly sender: number;
  readonly time: number;
  readonly body: string;
}

/** A conversation of the log. */
export interface LogConversation {
  readonly low: number;
  readonly high: number;
  readonly messages: readonly LogMessage[];
  /** For each user with unread messages: the seq before the first one. Other users have read everything. */
  readonly cursors: ReadonlyMap<number, number>;
}

/** The result for all rows. */
export interface OfflineLog {
  readonly conversations: readonly LogConversation[];
  /** The numbers of the rows that became messages. */
  readonly moved: readonly number[];
  /** The number of skipped rows by reason. */
  readonly skipped: ReadonlyMap<SkipReason, number>;
}

/** A row with its parsed text. */
export interface ParsedRow {
  readonly row: OfflineRow;
  readonly text: OfflineText | SkipReason;
}

/** Parses the texts of rows. `now` is in milliseconds since 1970, UTC. */
export function parseRows(rows: readonly OfflineRow[], now: number): ParsedRow[] {
  return rows.map((row) => ({ row, text: readOfflineText(row.message, now) }));
}

/** A message of a conversation that is being built. */
interface Draft {
  readonly text: OfflineText;
  /** The users that have not read the message. */
  readonly missedBy: number[];
}

/** A row that can become a message. */
interface MovableRow {
  readonly user: number;
  readonly text: OfflineText;
}

/**
 * Builds conversations from rows, which must be in the order of storage. `now` is the time of messages
 * without a known one.
 */
export function buildLog(rows: readonly ParsedRow[], directory: Directory, now: number): OfflineLog {
  const movable = new Map<string, { low: number; high: number; rows: MovableRow[] }>();
  const moved: number[] = [];
  const skipped = new Map<SkipReason, number>();
  for (const { row, text } of rows) {
    const reason = typeof text === "string" ? text : skipReason(row.userid, text, directory);
    if (typeof text === "string" || reason) {
      skipped.set(reason!, (skipped.get(reason!) ?? 0) + 1);
      continue;
    }
    moved.push(row.number);
    const [low, high] = text.group === undefined
      ? [Math.min(row.userid, text.sender), Math.max(row.userid, text.sender)]
      : [0, text.group];
    const key = `${low} ${high}`;
    const conversation = movable.get(key) ?? { low, high, rows: [] };
    movable.set(key, conversation);
    conversation.rows.push({ user: row.userid, text });
  }
  const conversations = [...movable.values()].map(({ low, high, rows }) => {
    const drafts = low === 0 ? mergeCopies(rows) : rows.map(({ user, text }) => ({ text, missedBy: [user] }));
    return { low, high, ...orderByTime(drafts, now) };
  });
  return { conversations, moved, skipped };
}

function skipReason(
  recipient: number,
  { sender, group }: OfflineText,
  directory: Directory,
): SkipReason | undefined {
  if (!directory.users.has(sender)) return "sender unknown";
  if (!directory.users.has(recipient)) return "recipient unknown";
  if (group === undefined) return undefined;
  const members = directory.groups.get(group);
  if (!members) return "group unknown";
  return members.has(recipient) ? undefined : "recipient not in the group";
}

/**
 * Merges the copies that a group's members have of one message. A sender may repeat a text within one second.
 * A member then has as many copies, or only the last ones, after logging out in between.
 */
function mergeCopies(rows: readonly MovableRow[]): Draft[] {
  const byText = new Map<string, Map<number, { row: MovableRow; place: number }[]>>();
  for (const [place, row] of rows.entries()) {
    const { sender, timeText, body } = row.text;
    const key = JSON.stringify([sender, timeText, body]);
    const copies = byText.get(key) ?? new Map<number, { row: MovableRow; place: number }[]>();
    byText.set(key, copies);
    const own = copies.get(row.user) ?? [];
    copies.set(row.user, own);
    own.push({ row, place });
  }
  const placed: { draft: Draft; place: number }[] = [];
  for (const copies of byText.values()) {
    const times = [...copies.values()].reduce((most, own) => Math.max(most, own.length), 0);
    const drafts = Array.from({ length: times }, () => ({ missedBy: [] as number[], place: Infinity }));
    for (const [user, own] of copies) {
      for (const [i, { place }] of own.entries()) {
        const draft = drafts[times - own.length + i]!;
        draft.missedBy.push(user);
        draft.place = Math.min(draft.place, place);
      }
    }
    // Equal messages are in the order of their copies: a member with the last copies only must not get the
    // first message.
    const places = drafts.map(({ place }) => place).sort((a, b) => a - b);
    for (const [i, { missedBy }] of drafts.entries()) {
      placed.push({ draft: { text: rows[places[i]!]!.text, missedBy }, place: places[i]! });
    }
  }
  return placed.sort((a, b) => a.place - b.place).map(({ draft }) => draft);
}

/**
 * Orders messages by time, or by storage without one. A cursor that is too low repeats a message, and never
 * loses one.
 */
function orderByTime(drafts: readonly Draft[], now: number): Pick<LogConversation, "messages" | "cursors"> {
  let time = drafts.find(({ text }) => text.time !== undefined)?.text.time ?? now;
  const timed = drafts.map((draft) => ({ ...draft, time: time = draft.text.time ?? time }));
  timed.sort((a, b) => a.time - b.time);
  const cursors = new Map<number, number>();
  for (const [before, { missedBy }] of timed.entries()) {
    for (const user of missedBy) if (!cursors.has(user)) cursors.set(user, before);
  }
  const messages = timed.map(({ text: { sender, body }, time }) => ({ sender, time, body }));
  return { messages, cursors };
}
