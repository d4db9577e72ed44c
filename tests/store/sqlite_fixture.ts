/** Helpers for tests of the embedded store: a file per test, and SQL as an operator would run it. */
import { assert, assertRejects } from "@std/assert";
import { DatabaseSync } from "node:sqlite";
import { SqliteStore } from "../../lib/store/sqlite/sqlite_store.ts";
import { ROOMY } from "./store_fixture.ts";

/** Registers a test with the name of a database file in a new folder. */
export function fileTest(name: string, body: (file: string) => Promise<void>): void {
  Deno.test(`sqlite: ${name}`, async () => {
    const directory = await Deno.makeTempDir();
    try {
      await body(`${directory}/chat.db`);
    } finally {
      await Deno.remove(directory, { recursive: true });
    }
  });
}

/** Runs SQL statements as an operator's tool would, and returns the last one's rows. */
export function sql(file: string, ...statements: string[]): Record<string, unknown>[] {
  const db = new DatabaseSync(file);
  try {
    const last = statements.pop()!;
    for (const statement of statements) db.exec(statement);
    return db.prepare(last).all().map((row) => ({ ...row }));
  } finally {
    db.close();
  }
}

/** Asserts that a file cannot be opened, and returns the error's message: one line with the file's name. */
export async function refusal(file: string): Promise<string> {
  const { message } = await assertRejects(() => SqliteStore.open(file, ROOMY), Error, file);
  assert(!message.includes("\n"), `one line: ${message}`);
  return message;
}
