/** Helpers for tests of a server's database file: its content, the server's log, and failed starts. */
import { assertEquals, assertStringIncludes } from "@std/assert";
import { DatabaseSync } from "node:sqlite";
import { runProgram } from "../harness/program.ts";
import type { Server } from "../harness/server.ts";
import { until } from "../harness/wait.ts";

export const EXIT_FAILED = 1;

/** A log entry. */
export interface Entry {
  readonly level: string;
  readonly event: string;
  readonly copy?: string;
  readonly error?: string;
}

/** Returns all log entries of a server. */
export function entries(server: Server): Entry[] {
  return server.log().split("\n").filter((line) => line.startsWith("{")).map((line) =>
    JSON.parse(line) as Entry
  );
}

/** Waits for the log entry with the place of a lost database's data. */
export function saved(server: Server): Promise<Entry> {
  return until(
    () => entries(server).find(({ event }) => event.startsWith("all acknowledged data")),
    "the data to be saved",
  );
}

/** Returns the number of messages in a database, and asserts that it is not damaged. */
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

/** Asserts that a server does not start with a file, and returns the error: one line with the file's name. */
export async function refusal(db: string): Promise<string> {
  const { code, stderr } = await runProgram("main.ts", ["127.0.0.1", "0", "--db", db]);
  assertEquals(code, EXIT_FAILED, stderr);
  assertEquals(stderr.trimEnd().split("\n").length, 1, stderr);
  assertStringIncludes(stderr, db);
  return stderr;
}
