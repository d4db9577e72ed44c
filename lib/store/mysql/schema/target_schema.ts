/** What schema.sql says there must be, taken apart so that it can be compared with what there is. */
import schema from "../../../../schema.sql" with { type: "text" };

/** A column as schema.sql has it. */
export interface TargetColumn {
  readonly name: string;
  /** What follows its name in a statement. */
  readonly definition: string;
  /** In the form of {@link normalizeType}. */
  readonly type: string;
  readonly nullable: boolean;
  readonly autoIncrement: boolean;
  readonly default: string | undefined;
}

/** An index. The primary key's name is PRIMARY. */
export interface TableIndex {
  readonly name: string;
  readonly unique: boolean;
  readonly columns: readonly string[];
}

/** A table as schema.sql has it. */
export interface TargetTable {
  readonly name: string;
  /** The statement that makes it. */
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

/** Every table of schema.sql, in its order. */
export const TABLES: readonly TargetTable[] = statements
  .filter((statement) => statement.startsWith("CREATE TABLE "))
  .map(parseTable);

/** The statement that makes the view OfflineMessage. */
export const VIEW_STATEMENT: string = statements.find((statement) =>
  / VIEW OfflineMessage /.test(statement)
)!;

/** The statement that says which version the schema has, which makes it the server's. */
export const VERSION_STATEMENT: string = statements.find((statement) => statement.startsWith("INSERT "))!;

/** The table of that name, which schema.sql must have. */
export function targetTable(name: string): TargetTable {
  return TABLES.find((table) => table.name === name)!;
}

/** A column's type as both MySQL and MariaDB could have written it: MariaDB tells how wide it shows integers. */
export function normalizeType(type: string): string {
  return type.toLowerCase().replaceAll(", ", ",").replace(/^((?:tiny|small|medium|big)?int)\(\d+\)/, "$1");
}

/** Takes a table apart that is written as those in schema.sql are: a line for each column and each key. */
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
