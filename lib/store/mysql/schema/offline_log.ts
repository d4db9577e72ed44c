/** Makes conversations, with their order and each member's cursor, of rows of OfflineMessage. */
import { type OfflineText, readOfflineText, type SkipReason } from "./offline_text.ts";

/** A row of OfflineMessage. */
export interface OfflineRow {
  /** Its number: the rows' order. */
  readonly number: number;
  readonly userid: number;
  readonly message: string;
}

/** Who there is. */
export interface Directory {
  readonly users: ReadonlySet<number>;
  /** Each group's members. */
  readonly groups: ReadonlyMap<number, ReadonlySet<number>>;
}

/** A message of a conversation; its seq is its place in it, counted from 1. */
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
  /** For each user who misses something: the seq before the first such message. Others have everything. */
  readonly cursors: ReadonlyMap<number, number>;
}

/** What rows came to. */
export interface OfflineLog {
  readonly conversations: readonly LogConversation[];
  /** The numbers of the rows that are in the conversations now. */
  readonly moved: readonly number[];
  /** How many others there are of each kind. */
  readonly skipped: ReadonlyMap<SkipReason, number>;
}

/** A row that has been read. */
export interface ParsedRow {
  readonly row: OfflineRow;
  readonly text: OfflineText | SkipReason;
}

/** Reads the rows' texts. `now` is in milliseconds since 1970, UTC. */
export function parseRows(rows: readonly OfflineRow[], now: number): ParsedRow[] {
  return rows.map((row) => ({ row, text: readOfflineText(row.message, now) }));
}

/** A message while its conversation is put together. */
interface Draft {
  readonly text: OfflineText;
  /** Who misses it. */
  readonly missedBy: number[];
}

/** A row that can be taken over. */
interface MovableRow {
  readonly user: number;
  readonly text: OfflineText;
}

/** Puts rows together, which are in the order in which they were stored. `now` is the time where none is known. */
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
 * Makes one message of the copies that a group's members were left. The same words in the same second may have been
 * said more than once: a member then has as many copies, or only the last of them, having gone away in between.
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
    // Equal messages are in the order of their copies, so that who has only the last ones isn't given the first.
    const places = drafts.map(({ place }) => place).sort((a, b) => a - b);
    for (const [i, { missedBy }] of drafts.entries()) {
      placed.push({ draft: { text: rows[places[i]!]!.text, missedBy }, place: places[i]! });
    }
  }
  return placed.sort((a, b) => a.place - b.place).map(({ draft }) => draft);
}

/** Orders messages by time, or as they came; a cursor that comes too early costs a repeat, and never a loss. */
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
