/** What there is in a database, as information_schema tells it. */
import { type Db, rowsOf } from "./sql.ts";
import { type Key, normalType } from "./target_schema.ts";

/** A column of a table that was found. */
export interface FoundColumn {
  readonly name: string;
  /** As the server writes it. */
  readonly written: string;
  /** In the form of {@link normalType}. */
  readonly type: string;
  readonly collation: string | undefined;
  readonly nullable: boolean;
  readonly autoIncrement: boolean;
  /** Whether the server works its value out by itself. */
  readonly generated: boolean;
  readonly default: string | undefined;
}

/** A table or a view that was found. */
export interface FoundTable {
  readonly name: string;
  readonly view: boolean;
  readonly engine: string;
  readonly collation: string;
  readonly columns: readonly FoundColumn[];
  /** Indexes; one of a column's beginning has no column of that name. */
  readonly keys: readonly Key[];
  /** What it refers to other tables by. */
  readonly foreignKeys: readonly Omit<Key, "unique">[];
}

/** A database's tables, by the names that schema.sql gives them. */
export class Found {
  readonly #tables: readonly FoundTable[];
  readonly #caseMatters: boolean;

  constructor(tables: readonly FoundTable[], caseMatters: boolean) {
    this.#tables = tables;
    this.#caseMatters = caseMatters;
  }

  /** All tables and views. */
  get all(): readonly FoundTable[] {
    return this.#tables;
  }

  /** The table that a statement means by this name. */
  named(name: string): FoundTable | undefined {
    return this.#tables.find((table) => this.#caseMatters ? table.name === name : same(table.name, name));
  }

  /** All tables of this name in upper, lower or mixed case. */
  alike(name: string): readonly FoundTable[] {
    return this.#tables.filter((table) => same(table.name, name));
  }
}

/** Whether two names are the same but for their case, which counts for no column or key. */
export function same(a: string, b: string): boolean {
  return a.toLowerCase() === b.toLowerCase();
}

/** Looks at the connection's database; without one there are no tables. */
export async function lookAround(db: Db): Promise<Found> {
  const [{ mode }] = await rowsOf<{ mode: number }>(db, "SELECT @@lower_case_table_names AS mode") as [
    { mode: number },
  ];
  const tables = await rowsOf<Record<"name" | "type" | "engine" | "collation", string | null>>(
    db,
    `SELECT table_name AS name, table_type AS type, engine AS engine, table_collation AS collation
     FROM information_schema.tables WHERE table_schema = DATABASE()`,
  );
  const columns = await columnsByTable(db);
  const keys = await keysByTable(db);
  const foreignKeys = await foreignKeysByTable(db);
  return new Found(
    tables.map(({ name, type, engine, collation }) => ({
      name: name!,
      view: type !== "BASE TABLE",
      engine: engine ?? "",
      collation: collation ?? "",
      columns: columns.get(name!) ?? [],
      keys: keys.get(name!) ?? [],
      foreignKeys: foreignKeys.get(name!) ?? [],
    })),
    mode === 0,
  );
}

async function columnsByTable(db: Db): Promise<Map<string, FoundColumn[]>> {
  const rows = await rowsOf<{
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
  return grouped(rows, ({ table }) => table, (row) => ({
    name: row.name,
    written: row.written,
    type: normalType(row.written),
    collation: row.collation ?? undefined,
    nullable: row.nullable === "YES",
    autoIncrement: row.extra.includes("auto_increment"),
    generated: /\b(VIRTUAL|STORED|PERSISTENT)\b/i.test(row.extra),
    // MariaDB writes a default as in a statement, and NULL in letters.
    default: row.fallback === null || row.fallback === "NULL"
      ? undefined
      : row.fallback.replace(/^'(.*)'$/s, "$1"),
  }));
}

async function keysByTable(db: Db): Promise<Map<string, Key[]>> {
  const rows = await rowsOf<{
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
  const byKey = grouped(rows, ({ table, name }) => `${table}/${name}`, (row) => row);
  return grouped([...byKey.values()], ([first]) => first!.table, (parts) => ({
    name: parts[0]!.name,
    unique: Number(parts[0]!.repeats) === 0,
    columns: parts.map(({ column, part }) => part === null ? column ?? "" : `${column}(${part})`),
  }));
}

async function foreignKeysByTable(db: Db): Promise<Map<string, Omit<Key, "unique">[]>> {
  const rows = await rowsOf<{ table: string; name: string; column: string }>(
    db,
    `SELECT table_name AS \`table\`, constraint_name AS name, column_name AS \`column\`
     FROM information_schema.key_column_usage
     WHERE table_schema = DATABASE() AND referenced_table_name IS NOT NULL`,
  );
  const byKey = grouped(rows, ({ table, name }) => `${table}/${name}`, (row) => row);
  return grouped([...byKey.values()], ([first]) => first!.table, (parts) => ({
    name: parts[0]!.name,
    columns: parts.map(({ column }) => column),
  }));
}

function grouped<Row, Value>(
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
