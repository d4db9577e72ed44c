/** Helpers for the statements of a migration. */
import type { Connection } from "mysql2/promise";

/** A connection that runs one statement at a time. */
export type Db = Pick<Connection, "query">;

/** Runs a query, and returns its rows. Rejects with the driver's error. */
export async function queryRows<Row>(db: Db, sql: string, values: readonly unknown[] = []): Promise<Row[]> {
  const [rows] = await db.query(sql, [...values]);
  return rows as Row[];
}

/** Returns the quoted name of a table, column or key. */
export function quoteName(name: string): string {
  return `\`${name.replaceAll("`", "``")}\``;
}

/** Returns the error number of the database's protocol, or undefined for any other error. */
export function errnoOf(error: unknown): number | undefined {
  return (error as { errno?: number }).errno;
}

/** Returns a number of rows as text. */
export function rowCountText(count: number): string {
  return `${count} row${count === 1 ? "" : "s"}`;
}

/** A change of a database. Running it twice is harmless. */
export interface Step {
  /** The change as text, for the operator. */
  readonly description: string;
  run(db: Db): Promise<void>;
}

/** Returns a step of fixed statements. */
export function step(description: string, ...statements: readonly string[]): Step {
  return {
    description,
    async run(db) {
      for (const statement of statements) await db.query(statement);
    },
  };
}
