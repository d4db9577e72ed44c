/** What the tests of the embedded store share: a file of their own, and an operator's way to look into it. */
import { assert, assertRejects } from "@std/assert";
import { DatabaseSync } from "node:sqlite";
import { SqliteStore } from "../../lib/store/sqlite/sqlite_store.ts";
import { ROOMY } from "./store_fixture.ts";

/** Registers a test that gets the name of a file in a directory of its own. */
export function fileTest(what: string, body: (file: string) => Promise<void>): void {
  Deno.test(`sqlite: ${what}`, async () => {
    const directory = await Deno.makeTempDir();
    try {
      await body(`${directory}/chat.db`);
    } finally {
      await Deno.remove(directory, { recursive: true });
    }
  });
}

/** Runs SQL as an operator's tool would, and gives the last statement's rows. */
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

/** Expects that the file cannot be opened, and returns the error's text, which is one line with the file's name. */
export async function refusal(file: string): Promise<string> {
  const { message } = await assertRejects(() => SqliteStore.open(file, ROOMY), Error, file);
  assert(!message.includes("\n"), `one line: ${message}`);
  return message;
}
