/** The little that bringing up the schema needs of a connection. */
import type { Connection } from "mysql2/promise";

/** A connection that runs one statement after the other. */
export type Db = Pick<Connection, "query">;

/** Runs a query and gives its rows. Rejects with the driver's error. */
export async function queryRows<Row>(db: Db, sql: string, values: readonly unknown[] = []): Promise<Row[]> {
  const [rows] = await db.query(sql, [...values]);
  return rows as Row[];
}

/** The name of a table, column or key, as it stands in a statement. */
export function quoteName(name: string): string {
  return `\`${name.replaceAll("`", "``")}\``;
}

/** The number that the database's protocol gives an error; none if it isn't the database's. */
export function errnoOf(error: unknown): number | undefined {
  return (error as { errno?: number }).errno;
}

/** A number of rows, in words. */
export function rowCountText(count: number): string {
  return `${count} row${count === 1 ? "" : "s"}`;
}

/** Something to be done to a database. Doing it a second time does no harm. */
export interface Step {
  /** What it changes, in words for the operator. */
  readonly description: string;
  run(db: Db): Promise<void>;
}

/** A step of statements that are known beforehand. */
export function step(description: string, ...statements: readonly string[]): Step {
  return {
    description,
    async run(db) {
      for (const statement of statements) await db.query(statement);
    },
  };
}
