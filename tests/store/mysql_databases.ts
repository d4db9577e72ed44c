/** Helpers for tests of the MySQL schema, which inspect databases and create those of C++ servers. */
import { createConnection } from "mysql2/promise";
import { type MigrationLog, type SchemaConnection } from "../../lib/store/mysql/schema/migrate.ts";
import type { Rows, TestDatabase } from "../harness/mariadb.ts";

/** Returns the options by which the server connects to the database. */
export function connectionTo({ server, name }: TestDatabase, account = "root"): SchemaConnection {
  return { host: server.host, port: server.port, user: account, database: name };
}

/** Records all log lines. */
export class RecordedLog implements MigrationLog {
  readonly steps: string[] = [];
  readonly warnings: Record<string, string | number>[] = [];

  info(_event: string, fields: Record<string, string | number>): void {
    if (fields.step !== undefined) this.steps.push(String(fields.step));
  }

  warn(_event: string, fields: Record<string, string | number>): void {
    this.warnings.push(fields);
  }
}

/** Runs statements in a database, one at a time. */
export async function run(db: TestDatabase, ...statements: readonly string[]): Promise<void> {
  const connection = await createConnection(connectionTo(db));
  try {
    for (const statement of statements) await connection.query(statement);
  } finally {
    await connection.end();
  }
}

/**
 * Options of a server that does not wait for the disk: these tests mostly change tables, and no machine fails
 * in them.
 */
export const FAST_OPTIONS: readonly string[] = [
  "--innodb-flush-log-at-trx-commit=0",
  "--innodb-flush-method=nosync",
];

/** The row with its columns' names in small letters: MySQL gives those of information_schema in capital ones. */
function withSmallNames(row: Rows[number]): Rows[number] {
  return Object.fromEntries(Object.entries(row).map(([name, value]) => [name.toLowerCase(), value]));
}

/** Returns all relevant facts of information_schema about a database, in a fixed order. */
export async function shapeOf(db: TestDatabase, name = db.name): Promise<Record<string, Rows>> {
  const queries = {
    database: `SELECT default_collation_name FROM information_schema.schemata WHERE schema_name = ?`,
    tables: `SELECT table_name, table_type, engine, table_collation FROM information_schema.tables
      WHERE table_schema = ? ORDER BY BINARY table_name`,
    columns: `SELECT table_name, column_name, column_type, is_nullable, column_default, extra, collation_name
      FROM information_schema.columns WHERE table_schema = ? ORDER BY BINARY table_name, BINARY column_name`,
    keys: `SELECT table_name, index_name, seq_in_index, column_name, sub_part, non_unique
      FROM information_schema.statistics WHERE table_schema = ? ORDER BY BINARY table_name, BINARY index_name, seq_in_index`,
    constraints:
      `SELECT table_name, constraint_name, constraint_type FROM information_schema.table_constraints
      WHERE table_schema = ? ORDER BY BINARY table_name, BINARY constraint_name`,
    views: `SELECT table_name, REPLACE(view_definition, ?, '') AS definition, security_type
      FROM information_schema.views WHERE table_schema = ?`,
  };
  const shape: Record<string, Rows> = {};
  for (const [kind, query] of Object.entries(queries)) {
    const rows = await db.sql(query, kind === "views" ? [`\`${name}\`.`, name] : [name]);
    shape[kind] = rows.map(withSmallNames);
  }
  return shape;
}

/**
 * Returns the shape without the properties of the database itself: an existing one retains its character set.
 */
export async function tablesOf(db: TestDatabase, name = db.name): Promise<Record<string, Rows>> {
  const { database: _, ...shape } = await shapeOf(db, name);
  return shape;
}

/** Returns a text that differs for any two states of a database, down to the rows of each table. */
export async function fingerprint(db: TestDatabase): Promise<unknown> {
  const shape = await shapeOf(db);
  const tables = shape.tables!.filter((table) => table.table_type === "BASE TABLE");
  const sums: Rows[] = [];
  for (const { table_name } of tables) sums.push(await db.sql(`CHECKSUM TABLE \`${table_name}\``));
  return { shape, sums };
}

/** The tables as the best known of these servers has them, in lower case. */
export const CLASSIC: readonly string[] = [
  `CREATE TABLE user (
    id INT PRIMARY KEY AUTO_INCREMENT, name VARCHAR(50) NOT NULL UNIQUE, password VARCHAR(50) NOT NULL,
    state ENUM('online', 'offline') DEFAULT 'offline')`,
  `CREATE TABLE friend (userid INT NOT NULL, friendid INT NOT NULL)`,
  `CREATE TABLE allgroup (
    id INT PRIMARY KEY AUTO_INCREMENT, groupname VARCHAR(50) NOT NULL, groupdesc VARCHAR(200) DEFAULT '')`,
  `CREATE TABLE groupuser (
    groupid INT NOT NULL, userid INT NOT NULL, grouprole ENUM('creator', 'normal') DEFAULT 'normal')`,
  `CREATE TABLE offlinemessage (userid INT NOT NULL, message VARCHAR(500) NOT NULL)`,
];

/**
 * Returns a row of OfflineMessage for a message between users, in the format of the best known of these
 * servers.
 */
export function oneChat(from: number, to: number, msg: string, time = "2024-02-29 12:00:00"): string {
  return JSON.stringify({ id: from, msg, msgid: 6, name: `u${from}`, time, toid: to });
}

/** Returns a row of OfflineMessage for a member of a group. */
export function groupChat(from: number, group: number, msg: string, time = "2024-02-29 12:00:00"): string {
  return JSON.stringify({ groupid: group, id: from, msg, msgid: 10, name: `u${from}`, time });
}

/** The columns of the five tables, without optional parts. */
export const PLAIN_COLUMNS = {
  User:
    "id INT PRIMARY KEY AUTO_INCREMENT, name VARCHAR(50) UNIQUE, password VARCHAR(50), state ENUM('online','offline')",
  Friend: "userid INT, friendid INT",
  AllGroup: "id INT PRIMARY KEY AUTO_INCREMENT, groupname VARCHAR(50) UNIQUE, groupdesc VARCHAR(200)",
  GroupUser: "groupid INT, userid INT, grouprole ENUM('creator','normal')",
  OfflineMessage: "userid INT, message VARCHAR(500)",
};

/** Returns statements for the five tables, with some columns replaced and `after` appended to each table. */
export function tables(after: string, columns: Partial<typeof PLAIN_COLUMNS> = {}): string[] {
  return Object.entries({ ...PLAIN_COLUMNS, ...columns }).map(([name, columns]) =>
    `CREATE TABLE ${name} (${columns}) ${after}`
  );
}

/** Rows for each of the tables of {@link tables}. */
export const ROWS: readonly string[] = [
  "INSERT INTO User (id, name, password, state) VALUES (5, 'a', 'pw', 'online'), (7, 'é b', 'p''\\\\w', NULL)",
  "INSERT INTO Friend (userid, friendid) VALUES (5, 7), (7, 5)",
  "INSERT INTO AllGroup (id, groupname, groupdesc) VALUES (3, 'g', NULL), (4, 'h', 'about')",
  "INSERT INTO GroupUser (groupid, userid, grouprole) VALUES (3, 7, 'normal'), (3, 5, 'creator'), (4, 7, 'creator')",
  `INSERT INTO OfflineMessage (userid, message) VALUES (5, '${oneChat(7, 5, "é one")}'), (7, '${
    groupChat(5, 3, "é all")
  }')`,
];

/** An unread message. */
export interface Missed {
  readonly low: number;
  readonly high: number;
  readonly seq: number;
  readonly sender: number;
  readonly body: string;
  readonly time: number;
}

/** Returns the unread messages of each user by log and cursors, in the order of each conversation. */
export async function missed(db: TestDatabase): Promise<Map<number, Missed[]>> {
  const rows = await db.sql(
    `SELECT userid, low, high, Message.seq AS seq, sender, body, time
     FROM MemberCursor JOIN Message USING (low, high) WHERE Message.seq > MemberCursor.seq
     ORDER BY userid, low, high, Message.seq`,
  );
  const byUser = new Map<number, Missed[]>();
  for (const { userid, ...message } of rows as unknown as (Missed & { userid: number })[]) {
    byUser.set(userid, [...byUser.get(userid) ?? [], message]);
  }
  return byUser;
}
