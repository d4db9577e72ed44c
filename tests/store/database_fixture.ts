/** What the tests of a server's database file share: what is in it, what the server logs, what a start says. */
import { assertEquals, assertStringIncludes } from "@std/assert";
import { DatabaseSync } from "node:sqlite";
import { runProgram } from "../harness/program.ts";
import type { Server } from "../harness/server.ts";
import { until } from "../harness/wait.ts";

export const EXIT_FAILED = 1;

/** A line of the log. */
export interface Entry {
  readonly level: string;
  readonly event: string;
  readonly copy?: string;
  readonly error?: string;
}

/** Returns all that the server has logged. */
export function entries(server: Server): Entry[] {
  return server.log().split("\n").filter((line) => line.startsWith("{")).map((line) =>
    JSON.parse(line) as Entry
  );
}

/** Waits for the line of the log that says where the data of a lost database is. */
export function saved(server: Server): Promise<Entry> {
  return until(
    () => entries(server).find(({ event }) => event.startsWith("all acknowledged data")),
    "the data to be saved",
  );
}

/** Returns the number of messages in a database, which must be intact. */
export function messagesIn(file: string): number {
  const db = new DatabaseSync(file);
  try {
    const [check] = db.prepare("PRAGMA integrity_check").all() as { integrity_check: string }[];
    assertEquals(check?.integrity_check, "ok");
    return (db.prepare("SELECT count(*) AS count FROM AnyMessage").get() as { count: number }).count;
  } finally {
    db.close();
  }
}

/** Expects that a server can't be started on a file, and returns its error: one line that names the file. */
export async function refusal(db: string): Promise<string> {
  const { code, stderr } = await runProgram("main.ts", ["127.0.0.1", "0", "--db", db]);
  assertEquals(code, EXIT_FAILED, stderr);
  assertEquals(stderr.trimEnd().split("\n").length, 1, stderr);
  assertStringIncludes(stderr, db);
  return stderr;
}
