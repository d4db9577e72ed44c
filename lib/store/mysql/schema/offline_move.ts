/** Moves unread messages from the table OfflineMessage of a C++ server into the log. */
import { textOf } from "../../text.ts";
import { ADD_ROW_NUMBERS, extraColumns, findColumn, ROW_NUMBER_COLUMN } from "./differences.ts";
import { type CurrentSchema, type CurrentTable, sameName } from "./current_schema.ts";
import { inChunks, insertRows } from "./insert.ts";
import { buildLog, type OfflineLog, type OfflineRow, type ParsedRow, parseRows } from "./offline_log.ts";
import type { SkipReason } from "./offline_text.ts";
import { type Db, queryRows, quoteName, rowCountText, type Step, step } from "./sql.ts";
import type { TargetTable } from "./target_schema.ts";

/** The name of the table while it has rows. Its original name becomes the view's. */
export const LEFTOVER_TABLE = "OldOfflineMessage";

/** The columns in use. */
const COLUMNS: TargetTable["columns"] = ["userid", "message"].map((name) => ({
  name,
  definition: "",
  type: "",
  nullable: true,
  autoIncrement: false,
  default: undefined,
}));

/** The steps that move the rows: before the transaction, within it, and after it. */
export interface OfflineMove {
  readonly before: readonly Step[];
  readonly transaction: readonly Step[];
  readonly after: readonly Step[];
  readonly blockers: readonly string[];
}

/** The current names of the tables of users, groups and members. */
export interface DirectoryTables {
  readonly users: string | undefined;
  readonly groups: string | undefined;
  readonly members: string | undefined;
}

/** Receives the number of rows that could not be moved, and the reasons. */
export type OnSkipped = (count: number, reasons: string) => void;

/** Plans to move the rows of `found`. Changes nothing. Rejects with the driver's error. */
export async function planMove(
  db: Db,
  found: CurrentTable,
  directory: DirectoryTables,
  all: CurrentSchema,
  onSkipped: OnSkipped,
): Promise<OfflineMove> {
  const missing = COLUMNS.filter(({ name }) => !findColumn(found, name)).map(({ name }) => name);
  if (missing.length > 0) {
    return blockedMove(
      `the table ${found.name} is not a chat server's: it has no column ${missing.join(", ")}`,
    );
  }
  const log = all.table("Message");
  if (log && (await queryRows(db, "SELECT 1 FROM Message LIMIT 1")).length > 0) {
    const [row] = await queryRows(db, `SELECT 1 FROM ${quoteName(found.name)} LIMIT 1`);
    if (row) return blockedMove(`both Message and ${found.name} have messages: delete those of one table`);
  }
  const number = found.columns.find(({ autoIncrement }) => autoIncrement)?.name;
  const extra = extraColumns(found, { name: LEFTOVER_TABLE, statement: "", columns: COLUMNS, keys: [] })
    .filter(({ autoIncrement }) => !autoIncrement).map(({ name }) => name);
  const { moved, skipped } = await readLog(db, found.name, number, directory);
  const parts = [`move ${rowCountText(moved.length)} of ${found.name} into the log`];
  if (skipped.size > 0) parts.push(`leave ${sumCounts(skipped)} in ${LEFTOVER_TABLE}: ${reasonsOf(skipped)}`);
  if (extra.length > 0) {
    parts.push(`keep all in ${LEFTOVER_TABLE} as well, because of its other columns: ${extra.join(", ")}`);
  }
  const row = number ?? ROW_NUMBER_COLUMN;
  return {
    before: preparationSteps(found, number),
    transaction: [{
      description: parts.join("; "),
      run: (db) => moveRows(db, row, extra.length > 0, onSkipped),
    }],
    after: [{
      description: `drop ${LEFTOVER_TABLE} if it is empty`,
      run: (db) => dropIfEmpty(db, number === undefined || number === ROW_NUMBER_COLUMN),
    }],
    blockers: [],
  };
}

function blockedMove(blocker: string): OfflineMove {
  return { before: [], transaction: [], after: [], blockers: [blocker] };
}

function preparationSteps(found: CurrentTable, number: string | undefined): Step[] {
  const steps: Step[] = [];
  if (!sameName(found.name, LEFTOVER_TABLE)) {
    steps.push(step(
      `rename the table ${found.name} to ${LEFTOVER_TABLE}`,
      `RENAME TABLE ${quoteName(found.name)} TO ${LEFTOVER_TABLE}`,
    ));
  }
  if (!sameName(found.engine, "InnoDB")) {
    steps.push(step(
      `change the table ${LEFTOVER_TABLE} to InnoDB`,
      `ALTER TABLE ${LEFTOVER_TABLE} ENGINE = InnoDB, ROW_FORMAT = DEFAULT`,
    ));
  }
  if (number === undefined) {
    steps.push(
      step(`number the rows of ${LEFTOVER_TABLE}`, `ALTER TABLE ${LEFTOVER_TABLE} ${ADD_ROW_NUMBERS}`),
    );
  }
  return steps;
}

async function moveRows(db: Db, number: string, keepAll: boolean, onSkipped: OnSkipped): Promise<void> {
  const directory = { users: "User", groups: "AllGroup", members: "GroupUser" };
  const { conversations, moved, skipped } = await readLog(db, LEFTOVER_TABLE, number, directory);
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
      await db.query(`DELETE FROM ${LEFTOVER_TABLE} WHERE ${quoteName(number)} IN (?)`, [numbers]);
    }
  }
  if (skipped.size > 0) onSkipped(sumCounts(skipped), reasonsOf(skipped));
}

function newCid(): string {
  return `moved:${crypto.randomUUID()}`;
}

async function dropIfEmpty(db: Db, numbered: boolean): Promise<void> {
  const rows = await queryRows(db, `SELECT 1 FROM ${LEFTOVER_TABLE} LIMIT 1`);
  if (rows.length === 0) await db.query(`DROP TABLE ${LEFTOVER_TABLE}`);
  else if (numbered) await db.query(`ALTER TABLE ${LEFTOVER_TABLE} DROP COLUMN ${ROW_NUMBER_COLUMN}`);
}

/**
 * Builds conversations from the rows of a table. Without a numbering column, rows are in the order of
 * reading.
 */
async function readLog(
  db: Db,
  table: string,
  number: string | undefined,
  { users, groups, members }: DirectoryTables,
): Promise<OfflineLog> {
  const now = Date.now();
  const numbers = number === undefined ? "0" : quoteName(number);
  const rows = await queryRows<Omit<OfflineRow, "message"> & { message: unknown }>(
    db,
    `SELECT ${numbers} AS number, userid AS userid, message AS message FROM ${quoteName(table)}
     ${number === undefined ? "" : `ORDER BY ${numbers}`}`,
  );
  const read = parseRows(
    rows.map((row) => ({ ...row, userid: Number(row.userid), message: messageText(row.message) })),
    now,
  );
  if (read.length === 0) return buildLog([], { users: new Set(), groups: new Map() }, now);
  const ids = users === undefined
    ? []
    : await queryRows<{ id: number }>(db, `SELECT id AS id FROM ${quoteName(users)}`);
  return buildLog(read, {
    users: new Set(ids.map(({ id }) => id)),
    groups: groups === undefined ? new Map() : await membersOf(db, groupsIn(read), groups, members),
  }, now);
}

function groupsIn(rows: readonly ParsedRow[]): number[] {
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
    const rows = await queryRows<{ id: number }>(
      db,
      `SELECT id AS id FROM ${quoteName(groups)} WHERE id IN (?)`,
      [chunk],
    );
    for (const { id } of rows) found.set(id, new Set());
    if (members === undefined) continue;
    const pairs = await queryRows<{ groupid: number; userid: number }>(
      db,
      `SELECT groupid AS groupid, userid AS userid FROM ${quoteName(members)} WHERE groupid IN (?)`,
      [chunk],
    );
    for (const { groupid, userid } of pairs) found.get(groupid)?.add(userid);
  }
  return found;
}

/** Returns a value as text: some servers have it in a binary column. */
function messageText(value: unknown): string {
  return value instanceof Uint8Array ? textOf(value) : String(value);
}

function sumCounts(skipped: ReadonlyMap<SkipReason, number>): number {
  return [...skipped.values()].reduce((sum, count) => sum + count, 0);
}

function reasonsOf(skipped: ReadonlyMap<SkipReason, number>): string {
  return [...skipped].map(([reason, count]) => `${reason} (${count})`).join(", ");
}
