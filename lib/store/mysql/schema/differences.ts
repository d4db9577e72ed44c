/** The differences between an existing table and its target, as clauses of one ALTER TABLE. */
import { type CurrentColumn, type CurrentTable, sameName } from "./current_schema.ts";
import { quoteName } from "./sql.ts";
import type { TableIndex, TargetColumn, TargetTable } from "./target_schema.ts";

/** A column that numbers rows without a key of their own during a repair. */
export const ROW_NUMBER_COLUMN = "chat_row";

/**
 * The clause that adds {@link ROW_NUMBER_COLUMN}. It copies the table, as the numbers then follow the order
 * of rows.
 */
export const ADD_ROW_NUMBERS = `ADD COLUMN ${ROW_NUMBER_COLUMN} BIGINT UNSIGNED NOT NULL AUTO_INCREMENT, ` +
  `ADD UNIQUE KEY (${ROW_NUMBER_COLUMN}), ALGORITHM = COPY`;

const COLLATION = "utf8mb4_bin"; // of every table and text column

/** Returns the existing column for a target column. */
export function findColumn(found: CurrentTable, name: string): CurrentColumn | undefined {
  return found.columns.find((column) => sameName(column.name, name));
}

/** Returns the columns that an operator has added. They stay unchanged. */
export function extraColumns(found: CurrentTable, table: TargetTable): readonly CurrentColumn[] {
  return found.columns.filter(({ name }) =>
    name !== ROW_NUMBER_COLUMN && !table.columns.some((column) => sameName(column.name, name))
  );
}

/** Returns whether an existing column can hold the same values as the target. */
export function columnMatches(column: TargetColumn, found: CurrentColumn): boolean {
  return column.type === found.type && column.nullable === found.nullable &&
    column.autoIncrement === found.autoIncrement && column.default === found.default &&
    (found.collation ?? COLLATION) === COLLATION;
}

/** Returns whether an index with the same columns exists, under any name. */
export function hasIndex(found: CurrentTable, key: TableIndex): boolean {
  return found.keys.some((other) => other.unique === key.unique && sameColumns(other, key));
}

/** Returns the clauses that change the existing table into the target. Returns none for equal tables. */
export function alterClauses(table: TargetTable, found: CurrentTable): string[] {
  const clauses: string[] = [];
  // The row format of another engine may not exist in InnoDB.
  if (!sameName(found.engine, "InnoDB")) clauses.push("ENGINE = InnoDB", "ROW_FORMAT = DEFAULT");
  if (found.collation !== COLLATION) clauses.push(`DEFAULT CHARACTER SET utf8mb4 COLLATE ${COLLATION}`);
  if (findColumn(found, ROW_NUMBER_COLUMN)) clauses.push(`DROP COLUMN ${ROW_NUMBER_COLUMN}`);
  for (const column of table.columns) {
    const current = findColumn(found, column.name);
    if (!current) clauses.push(`ADD COLUMN ${quoteName(column.name)} ${column.definition}`);
    else if (current.name !== column.name || !columnMatches(column, current)) {
      clauses.push(`CHANGE COLUMN ${quoteName(current.name)} ${quoteName(column.name)} ${column.definition}`);
    }
  }
  return [...clauses, ...indexClauses(table, found)];
}

function indexClauses(table: TargetTable, found: CurrentTable): string[] {
  const drops: string[] = [];
  const adds: string[] = [];
  const present: TableIndex[] = [];
  for (const key of found.keys) {
    const target = table.keys.find(({ name }) => sameName(name, key.name));
    if (target && target.unique === key.unique && sameColumns(target, key)) {
      present.push(target);
      continue;
    }
    const isOurs = key.columns.every((column) => table.columns.some(({ name }) => sameName(name, column)));
    // A unique key on the server's own columns could prevent valid rows. Other keys are the operator's.
    if (!target && !(key.unique && isOurs)) continue;
    drops.push(key.name === "PRIMARY" ? "DROP PRIMARY KEY" : `DROP KEY ${quoteName(key.name)}`);
    if (!isOurs && key.unique) adds.push(`ADD UNIQUE KEY ${columnList(key.columns)}`);
  }
  for (const key of table.keys) {
    if (present.includes(key)) continue;
    const kind = key.name === "PRIMARY"
      ? "PRIMARY KEY"
      : `${key.unique ? "UNIQUE " : ""}KEY ${quoteName(key.name)}`;
    adds.push(`ADD ${kind} ${columnList(key.columns)}`);
  }
  return [...drops, ...adds];
}

function sameColumns(a: TableIndex, b: TableIndex): boolean {
  return a.columns.length === b.columns.length &&
    a.columns.every((column, i) => sameName(column, b.columns[i]!));
}

function columnList(columns: readonly string[]): string {
  return `(${columns.map(quoteName).join(", ")})`;
}
