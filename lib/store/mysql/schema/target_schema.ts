/** The schema in schema.sql, parsed for comparison with an existing one. */
import schema from "../../../../schema.sql" with { type: "text" };

/** A column in schema.sql. */
export interface TargetColumn {
  readonly name: string;
  /** The part of the statement after the name. */
  readonly definition: string;
  /** In the form of {@link normalizeType}. */
  readonly type: string;
  readonly nullable: boolean;
  readonly autoIncrement: boolean;
  readonly default: string | undefined;
}

/** An index. The name of the primary key is PRIMARY. */
export interface TableIndex {
  readonly name: string;
  readonly unique: boolean;
  readonly columns: readonly string[];
}

/** A table in schema.sql. */
export interface TargetTable {
  readonly name: string;
  /** The statement that creates the table. */
  readonly statement: string;
  readonly columns: readonly TargetColumn[];
  readonly keys: readonly TableIndex[];
}

const COMMENTS_AND_STRINGS = /'(?:[^']|'')*'|--.*/g;
const STATEMENTS = /(?:'(?:[^']|'')*'|[^';])+/g;

const COLUMN_PATTERN = /^(\w+)\s+(\w+(?:\([^)]*\))?(?: UNSIGNED)?)(.*)$/;
const INDEX_PATTERN = /^(PRIMARY KEY|UNIQUE KEY (\w+)|KEY (\w+)) \(([^)]*)\)$/;

const statements = schema
  .replace(COMMENTS_AND_STRINGS, (found) => found.startsWith("--") ? "" : found)
  .match(STATEMENTS)!
  .map((statement) => statement.trim())
  .filter((statement) => statement !== "");

/** All tables of schema.sql, in order. */
export const TABLES: readonly TargetTable[] = statements
  .filter((statement) => statement.startsWith("CREATE TABLE "))
  .map(parseTable);

/** The statement that creates the view OfflineMessage. */
export const VIEW_STATEMENT: string = statements.find((statement) =>
  / VIEW OfflineMessage /.test(statement)
)!;

/** The statement that records the version, which marks the schema as complete. */
export const VERSION_STATEMENT: string = statements.find((statement) => statement.startsWith("INSERT "))!;

/** Returns the table of that name, which schema.sql must have. */
export function targetTable(name: string): TargetTable {
  return TABLES.find((table) => table.name === name)!;
}

/** Returns a column type in a form that MySQL and MariaDB share: MariaDB adds a display width to integers. */
export function normalizeType(type: string): string {
  return type.toLowerCase().replaceAll(", ", ",").replace(/^((?:tiny|small|medium|big)?int)\(\d+\)/, "$1");
}

/** Parses a table in the layout of schema.sql: one line per column and key. */
function parseTable(statement: string): TargetTable {
  const lines = statement.split("\n").slice(1, -1).map((line) => line.trim().replace(/,$/, ""));
  const columns: TargetColumn[] = [];
  const keys: TableIndex[] = [];
  for (const line of lines) {
    const key = INDEX_PATTERN.exec(line);
    if (key) {
      const [, kind, unique, plain, names] = key;
      keys.push({
        name: unique ?? plain ?? "PRIMARY",
        unique: !kind!.startsWith("KEY"),
        columns: names!.split(", "),
      });
      continue;
    }
    const [, name, type, attributes] = COLUMN_PATTERN.exec(line)!;
    columns.push({
      name: name!,
      definition: `${type}${attributes}`,
      type: normalizeType(type!),
      nullable: !attributes!.includes("NOT NULL"),
      autoIncrement: attributes!.includes("AUTO_INCREMENT"),
      default: /DEFAULT (\S+)/.exec(attributes!)?.[1]?.replaceAll("'", ""),
    });
  }
  return { name: /^CREATE TABLE (\w+)/.exec(statement)![1]!, statement, columns, keys };
}
