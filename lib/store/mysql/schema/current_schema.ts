/** The tables of a database, read from information_schema. */
import { type Db, queryRows } from "./sql.ts";
import { normalizeType, type TableIndex } from "./target_schema.ts";

/** A column of an existing table. */
export interface CurrentColumn {
  readonly name: string;
  /** The type in the server's notation. */
  readonly declaredType: string;
  /** The type in the form of {@link normalizeType}. */
  readonly type: string;
  readonly collation: string | undefined;
  readonly nullable: boolean;
  readonly autoIncrement: boolean;
  /** Whether the server computes the value. */
  readonly generated: boolean;
  readonly default: string | undefined;
}

/** An existing table or view. */
export interface CurrentTable {
  readonly name: string;
  readonly isView: boolean;
  readonly engine: string;
  readonly collation: string;
  readonly columns: readonly CurrentColumn[];
  /** The indexes. A column prefix in an index has no column of that name. */
  readonly keys: readonly TableIndex[];
  /** The columns that refer to other tables. */
  readonly foreignKeys: readonly Omit<TableIndex, "unique">[];
}

/** The tables of a database, by their names in schema.sql. */
export class CurrentSchema {
  readonly #tables: readonly CurrentTable[];
  readonly #isCaseSensitive: boolean;

  constructor(tables: readonly CurrentTable[], caseMatters: boolean) {
    this.#tables = tables;
    this.#isCaseSensitive = caseMatters;
  }

  /** All tables and views. */
  get tables(): readonly CurrentTable[] {
    return this.#tables;
  }

  /** Returns the table that this name means in a statement. */
  table(name: string): CurrentTable | undefined {
    return this.#tables.find((table) =>
      this.#isCaseSensitive ? table.name === name : sameName(table.name, name)
    );
  }

  /** Returns all tables with this name in upper, lower or mixed case. */
  tablesIgnoringCase(name: string): readonly CurrentTable[] {
    return this.#tables.filter((table) => sameName(table.name, name));
  }
}

/** Returns whether two names are equal except for case, which names of columns and keys ignore. */
export function sameName(a: string, b: string): boolean {
  return a.toLowerCase() === b.toLowerCase();
}

/** Reads the schema of the connection's database. Without a database there are no tables. */
export async function inspectSchema(db: Db): Promise<CurrentSchema> {
  const [{ mode }] = await queryRows<{ mode: number }>(db, "SELECT @@lower_case_table_names AS mode") as [
    { mode: number },
  ];
  const tables = await queryRows<Record<"name" | "type" | "engine" | "collation", string | null>>(
    db,
    `SELECT table_name AS name, table_type AS type, engine AS engine, table_collation AS collation
     FROM information_schema.tables WHERE table_schema = DATABASE()`,
  );
  const columns = await columnsByTable(db);
  const keys = await keysByTable(db);
  const foreignKeys = await foreignKeysByTable(db);
  return new CurrentSchema(
    tables.map(({ name, type, engine, collation }) => ({
      name: name!,
      isView: type !== "BASE TABLE",
      engine: engine ?? "",
      collation: collation ?? "",
      columns: columns.get(name!) ?? [],
      keys: keys.get(name!) ?? [],
      foreignKeys: foreignKeys.get(name!) ?? [],
    })),
    mode === 0,
  );
}

async function columnsByTable(db: Db): Promise<Map<string, CurrentColumn[]>> {
  const rows = await queryRows<{
    table: string;
    name: string;
    written: string;
    collation: string | null;
    nullable: string;
    extra: string;
    fallback: string | null;
  }>(
    db,
    `SELECT table_name AS \`table\`, column_name AS name, column_type AS written, collation_name AS collation,
       is_nullable AS nullable, extra AS extra, column_default AS fallback
     FROM information_schema.columns WHERE table_schema = DATABASE() ORDER BY table_name, ordinal_position`,
  );
  return groupValues(rows, ({ table }) => table, (row) => ({
    name: row.name,
    declaredType: row.written,
    type: normalizeType(row.written),
    collation: row.collation ?? undefined,
    nullable: row.nullable === "YES",
    autoIncrement: row.extra.includes("auto_increment"),
    generated: /\b(VIRTUAL|STORED|PERSISTENT)\b/i.test(row.extra),
    // MariaDB writes a default as in a statement, and NULL as text.
    default: row.fallback === null || row.fallback === "NULL"
      ? undefined
      : row.fallback.replace(/^'(.*)'$/s, "$1"),
  }));
}

async function keysByTable(db: Db): Promise<Map<string, TableIndex[]>> {
  const rows = await queryRows<{
    table: string;
    name: string;
    repeats: number;
    column: string | null;
    part: number | null;
  }>(
    db,
    `SELECT table_name AS \`table\`, index_name AS name, non_unique AS repeats, column_name AS \`column\`,
       sub_part AS part
     FROM information_schema.statistics WHERE table_schema = DATABASE()
     ORDER BY table_name, index_name, seq_in_index`,
  );
  const byKey = groupValues(rows, ({ table, name }) => `${table}/${name}`, (row) => row);
  return groupValues([...byKey.values()], ([first]) => first!.table, (parts) => ({
    name: parts[0]!.name,
    unique: Number(parts[0]!.repeats) === 0,
    columns: parts.map(({ column, part }) => part === null ? column ?? "" : `${column}(${part})`),
  }));
}

async function foreignKeysByTable(db: Db): Promise<Map<string, Omit<TableIndex, "unique">[]>> {
  const rows = await queryRows<{ table: string; name: string; column: string }>(
    db,
    `SELECT table_name AS \`table\`, constraint_name AS name, column_name AS \`column\`
     FROM information_schema.key_column_usage
     WHERE table_schema = DATABASE() AND referenced_table_name IS NOT NULL`,
  );
  const byKey = groupValues(rows, ({ table, name }) => `${table}/${name}`, (row) => row);
  return groupValues([...byKey.values()], ([first]) => first!.table, (parts) => ({
    name: parts[0]!.name,
    columns: parts.map(({ column }) => column),
  }));
}

function groupValues<Row, Value>(
  rows: readonly Row[],
  by: (row: Row) => string,
  valueOf: (row: Row) => Value,
): Map<string, Value[]> {
  const groups = new Map<string, Value[]>();
  for (const row of rows) {
    const group = groups.get(by(row));
    if (group) group.push(valueOf(row));
    else groups.set(by(row), [valueOf(row)]);
  }
  return groups;
}
