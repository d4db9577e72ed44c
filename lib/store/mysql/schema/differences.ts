/** What a table that was found lacks of the one that is wanted, as clauses of one ALTER TABLE. */
import { type FoundColumn, type FoundTable, same } from "./current_schema.ts";
import { quoted } from "./sql.ts";
import type { Key, WantedColumn, WantedTable } from "./target_schema.ts";

/** A column that numbers rows which nothing else tells apart, while they are being sorted out. */
export const ROW = "chat_row";

/** The clause that adds {@link ROW}; by copying, because then the numbers are in the rows' order. */
export const ADD_ROW =
  `ADD COLUMN ${ROW} BIGINT UNSIGNED NOT NULL AUTO_INCREMENT, ADD UNIQUE KEY (${ROW}), ALGORITHM = COPY`;

const COLLATION = "utf8mb4_bin"; // of every table and text

/** The column that was found in the place of a wanted one. */
export function columnIn(found: FoundTable, name: string): FoundColumn | undefined {
  return found.columns.find((column) => same(column.name, name));
}

/** The table's other columns: the operator's, which are left as they are. */
export function othersIn(found: FoundTable, table: WantedTable): readonly FoundColumn[] {
  return found.columns.filter(({ name }) =>
    name !== ROW && !table.columns.some((column) => same(column.name, name))
  );
}

/** Whether the column is as it should be, in all that counts for what it can hold. */
export function isLike(column: WantedColumn, found: FoundColumn): boolean {
  return column.type === found.type && column.nullable === found.nullable &&
    column.autoIncrement === found.autoIncrement && column.default === found.default &&
    (found.collation ?? COLLATION) === COLLATION;
}

/** Whether there is such an index, by whatever name. */
export function hasKey(found: FoundTable, key: Key): boolean {
  return found.keys.some((other) => other.unique === key.unique && sameColumns(other, key));
}

/** What makes one table into the other; nothing if it is like it already. */
export function differences(table: WantedTable, found: FoundTable): string[] {
  const clauses: string[] = [];
  // Another engine's format of rows may be one that InnoDB doesn't have.
  if (!same(found.engine, "InnoDB")) clauses.push("ENGINE = InnoDB", "ROW_FORMAT = DEFAULT");
  if (found.collation !== COLLATION) clauses.push(`DEFAULT CHARACTER SET utf8mb4 COLLATE ${COLLATION}`);
  if (columnIn(found, ROW)) clauses.push(`DROP COLUMN ${ROW}`);
  for (const column of table.columns) {
    const there = columnIn(found, column.name);
    if (!there) clauses.push(`ADD COLUMN ${quoted(column.name)} ${column.definition}`);
    else if (there.name !== column.name || !isLike(column, there)) {
      clauses.push(`CHANGE COLUMN ${quoted(there.name)} ${quoted(column.name)} ${column.definition}`);
    }
  }
  return [...clauses, ...keyDifferences(table, found)];
}

function keyDifferences(table: WantedTable, found: FoundTable): string[] {
  const drops: string[] = [];
  const adds: string[] = [];
  const there: Key[] = [];
  for (const key of found.keys) {
    const wanted = table.keys.find(({ name }) => same(name, key.name));
    if (wanted && wanted.unique === key.unique && sameColumns(wanted, key)) {
      there.push(wanted);
      continue;
    }
    const ours = key.columns.every((column) => table.columns.some(({ name }) => same(name, column)));
    // A unique key of the server's own columns could forbid what the server means to write. Others are the operator's.
    if (!wanted && !(key.unique && ours)) continue;
    drops.push(key.name === "PRIMARY" ? "DROP PRIMARY KEY" : `DROP KEY ${quoted(key.name)}`);
    if (!ours && key.unique) adds.push(`ADD UNIQUE KEY ${list(key.columns)}`);
  }
  for (const key of table.keys) {
    if (there.includes(key)) continue;
    const kind = key.name === "PRIMARY"
      ? "PRIMARY KEY"
      : `${key.unique ? "UNIQUE " : ""}KEY ${quoted(key.name)}`;
    adds.push(`ADD ${kind} ${list(key.columns)}`);
  }
  return [...drops, ...adds];
}

function sameColumns(a: Key, b: Key): boolean {
  return a.columns.length === b.columns.length &&
    a.columns.every((column, i) => same(column, b.columns[i]!));
}

function list(columns: readonly string[]): string {
  return `(${columns.map(quoted).join(", ")})`;
}
