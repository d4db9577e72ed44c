/** Moves what users have missed from the table OfflineMessage of a C++ server into the log. */
import { ADD_ROW, columnIn, othersIn, ROW } from "./differences.ts";
import { type Found, type FoundTable, same } from "./current_schema.ts";
import { inChunks, insertRows } from "./insert.ts";
import { makeLog, type OfflineLog, type OfflineRow, type ReadRow, readRows } from "./offline_log.ts";
import type { Unfit } from "./offline_text.ts";
import { type Db, quoted, rowsInWords, rowsOf, type Step, step } from "./sql.ts";
import type { WantedTable } from "./target_schema.ts";

/** The name of the table while, and if, there are rows in it; its own is the view's. */
export const OLD = "OldOfflineMessage";

/** The columns that are read of it. */
const COLUMNS: WantedTable["columns"] = ["userid", "message"].map((name) => ({
  name,
  definition: "",
  type: "",
  nullable: true,
  autoIncrement: false,
  default: undefined,
}));

/** How to move the rows, in three parts: before the transaction that does it, within it, and after it. */
export interface OfflineMove {
  readonly before: readonly Step[];
  readonly together: readonly Step[];
  readonly after: readonly Step[];
  readonly obstacles: readonly string[];
}

/** The tables that are asked who there is, by the names that they have at the time. */
export interface DirectoryTables {
  readonly users: string | undefined;
  readonly groups: string | undefined;
  readonly members: string | undefined;
}

/** Called with the rows that could not be moved. */
export type OnLeft = (count: number, reasons: string) => void;

/** How to move the rows of `found`. Only looks. Rejects with the driver's error. */
export async function planMove(
  db: Db,
  found: FoundTable,
  directory: DirectoryTables,
  all: Found,
  onLeft: OnLeft,
): Promise<OfflineMove> {
  const lacking = COLUMNS.filter(({ name }) => !columnIn(found, name)).map(({ name }) => name);
  if (lacking.length > 0) {
    return nothingBut(
      `the table ${found.name} is not a chat server's: it has no column ${lacking.join(", ")}`,
    );
  }
  const log = all.named("Message");
  if (log && (await rowsOf(db, "SELECT 1 FROM Message LIMIT 1")).length > 0) {
    const [row] = await rowsOf(db, `SELECT 1 FROM ${quoted(found.name)} LIMIT 1`);
    if (row) return nothingBut(`both Message and ${found.name} have messages: take those of one away`);
  }
  const number = found.columns.find(({ autoIncrement }) => autoIncrement)?.name;
  const extra = othersIn(found, { name: OLD, statement: "", columns: COLUMNS, keys: [] })
    .filter(({ autoIncrement }) => !autoIncrement).map(({ name }) => name);
  const { moved, left } = await logOf(db, found.name, number, directory);
  const parts = [`move ${rowsInWords(moved.length)} of ${found.name} into the log`];
  if (left.size > 0) parts.push(`leave ${total(left)} in ${OLD}: ${reasonsOf(left)}`);
  if (extra.length > 0) {
    parts.push(`keep all in ${OLD} as well, because of its other columns: ${extra.join(", ")}`);
  }
  const row = number ?? ROW;
  return {
    before: makeReady(found, number),
    together: [{
      words: parts.join("; "),
      run: (db) => move(db, row, extra.length > 0, onLeft),
    }],
    after: [{
      words: `drop ${OLD} if it is empty`,
      run: (db) => tidyUp(db, number === undefined || number === ROW),
    }],
    obstacles: [],
  };
}

function nothingBut(obstacle: string): OfflineMove {
  return { before: [], together: [], after: [], obstacles: [obstacle] };
}

function makeReady(found: FoundTable, number: string | undefined): Step[] {
  const steps: Step[] = [];
  if (!same(found.name, OLD)) {
    steps.push(step(
      `rename the table ${found.name} to ${OLD}`,
      `RENAME TABLE ${quoted(found.name)} TO ${OLD}`,
    ));
  }
  if (!same(found.engine, "InnoDB")) {
    steps.push(step(
      `change the table ${OLD} to InnoDB`,
      `ALTER TABLE ${OLD} ENGINE = InnoDB, ROW_FORMAT = DEFAULT`,
    ));
  }
  if (number === undefined) {
    steps.push(step(`number the rows of ${OLD}`, `ALTER TABLE ${OLD} ${ADD_ROW}`));
  }
  return steps;
}

async function move(db: Db, number: string, keepAll: boolean, onLeft: OnLeft): Promise<void> {
  const directory = { users: "User", groups: "AllGroup", members: "GroupUser" };
  const { conversations, moved, left } = await logOf(db, OLD, number, directory);
  await insertRows(
    db,
    "Conversation (low, high, last_seq)",
    conversations.map(({ low, high, messages }) => [low, high, messages.length]),
  );
  await insertRows(
    db,
    "Message (low, high, seq, sender, cid, time, body)",
    conversations.flatMap(({ low, high, messages }) =>
      messages.map(({ sender, time, body }, i) => [low, high, i + 1, sender, newCid(), time, body])
    ),
  );
  await insertRows(
    db,
    "MemberCursor (userid, low, high, seq)",
    conversations.flatMap(({ low, high, messages, cursors }) => {
      const both = low === 0 ? [] : [...new Set([low, high])];
      const rest = both.filter((user) => !cursors.has(user)).map((user) => [user, messages.length] as const);
      return [...cursors, ...rest].map(([user, seq]) => [user, low, high, seq]);
    }),
  );
  if (!keepAll) {
    for (const numbers of inChunks(moved)) {
      await db.query(`DELETE FROM ${OLD} WHERE ${quoted(number)} IN (?)`, [numbers]);
    }
  }
  if (left.size > 0) onLeft(total(left), reasonsOf(left));
}

function newCid(): string {
  return `moved:${crypto.randomUUID()}`;
}

async function tidyUp(db: Db, numbered: boolean): Promise<void> {
  const rows = await rowsOf(db, `SELECT 1 FROM ${OLD} LIMIT 1`);
  if (rows.length === 0) await db.query(`DROP TABLE ${OLD}`);
  else if (numbered) await db.query(`ALTER TABLE ${OLD} DROP COLUMN ${ROW}`);
}

/** What the rows of the table come to; they are numbered as they come where no column does it. */
async function logOf(
  db: Db,
  table: string,
  number: string | undefined,
  { users, groups, members }: DirectoryTables,
): Promise<OfflineLog> {
  const now = Date.now();
  const numbers = number === undefined ? "0" : quoted(number);
  const rows = await rowsOf<Omit<OfflineRow, "message"> & { message: unknown }>(
    db,
    `SELECT ${numbers} AS number, userid AS userid, message AS message FROM ${quoted(table)}
     ${number === undefined ? "" : `ORDER BY ${numbers}`}`,
  );
  const read = readRows(
    rows.map((row) => ({ ...row, userid: Number(row.userid), message: textOf(row.message) })),
    now,
  );
  if (read.length === 0) return makeLog([], { users: new Set(), groups: new Map() }, now);
  const ids = users === undefined
    ? []
    : await rowsOf<{ id: number }>(db, `SELECT id AS id FROM ${quoted(users)}`);
  return makeLog(read, {
    users: new Set(ids.map(({ id }) => id)),
    groups: groups === undefined ? new Map() : await membersOf(db, groupsIn(read), groups, members),
  }, now);
}

function groupsIn(rows: readonly ReadRow[]): number[] {
  const groups = rows.map(({ text }) => typeof text === "string" ? undefined : text.group);
  return [...new Set(groups.filter((group) => group !== undefined))];
}

async function membersOf(
  db: Db,
  ids: readonly number[],
  groups: string,
  members: string | undefined,
): Promise<Map<number, Set<number>>> {
  const found = new Map<number, Set<number>>();
  for (const chunk of inChunks(ids)) {
    const rows = await rowsOf<{ id: number }>(
      db,
      `SELECT id AS id FROM ${quoted(groups)} WHERE id IN (?)`,
      [chunk],
    );
    for (const { id } of rows) found.set(id, new Set());
    if (members === undefined) continue;
    const pairs = await rowsOf<{ groupid: number; userid: number }>(
      db,
      `SELECT groupid AS groupid, userid AS userid FROM ${quoted(members)} WHERE groupid IN (?)`,
      [chunk],
    );
    for (const { groupid, userid } of pairs) found.get(groupid)?.add(userid);
  }
  return found;
}

const lenient = new TextDecoder("utf-8", { ignoreBOM: true });

/** A value as text: some servers keep it in a column of bytes. */
function textOf(value: unknown): string {
  return value instanceof Uint8Array ? lenient.decode(value) : String(value);
}

function total(left: ReadonlyMap<Unfit, number>): number {
  return [...left.values()].reduce((sum, count) => sum + count, 0);
}

function reasonsOf(left: ReadonlyMap<Unfit, number>): string {
  return [...left].map(([reason, count]) => `${reason} (${count})`).join(", ");
}
