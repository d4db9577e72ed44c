/** Tests of the rescue of a lost database: only verified data counts as saved. */
import { assertEquals, assertRejects, assertStringIncludes, assertThrows } from "@std/assert";
import { DatabaseSync } from "node:sqlite";
import { openDatabase } from "../../lib/store/sqlite/database.ts";
import { Executor } from "../../lib/store/sqlite/executor.ts";
import { readHeader } from "../../lib/store/sqlite/file_header.ts";
import { verifyDatabase } from "../../lib/store/sqlite/newest.ts";
import { checkpointFully, copyDatabase } from "../../lib/store/sqlite/rescue.ts";
import { SqliteStore } from "../../lib/store/sqlite/sqlite_store.ts";
import { WalProbe } from "../../lib/store/sqlite/wal_probe.ts";
import { StoreUnavailableError } from "../../lib/store/store.ts";
import { until } from "../harness/wait.ts";
import { sql } from "./sqlite_fixture.ts";
import { granted, makeUsers, NOON, ROOMY } from "./store_fixture.ts";

async function withFolder(body: (folder: string) => Promise<void> | void): Promise<void> {
  const folder = await Deno.makeTempDir();
  try {
    await body(folder);
  } finally {
    await Deno.remove(folder, { recursive: true });
  }
}

/** Sends messages of user 1 to user 2, with one commit for each. */
function send(executor: Executor, cids: readonly string[]): void {
  for (const cid of cids) executor.run([{ changes: [["append", 1, 2, cid, "text", NOON]], reads: [] }]);
}

function register(executor: Executor, name: string): void {
  executor.run([{ changes: [["createUser", name, "hash"]], reads: [] }]);
}

Deno.test("sqlite rescue: accepts a copy that has the newest message and account", () =>
  withFolder(async (folder) => {
    const db = openDatabase(`${folder}/chat.db`);
    const executor = new Executor(db, ROOMY);
    for (const name of ["ann", "bob"]) register(executor, name);
    send(executor, ["1", "2"]);
    const earlier = `${folder}/earlier.db`;
    assertEquals(await copyDatabase(db, earlier, executor.latestCommit), undefined);
    {
      using copy = await Deno.open(earlier);
      assertEquals(readHeader(copy).usesWal, false, "it needs no write-ahead log");
    }
    const old = new DatabaseSync(earlier);
    verifyDatabase(old, executor.latestCommit);
    verifyDatabase(old, new Executor(openDatabase(":memory:"), ROOMY).latestCommit); // no data
    send(executor, ["3"]);
    assertThrows(
      () => verifyDatabase(old, executor.latestCommit),
      Error,
      "it lacks the newest message (low, high, seq: 1, 2, 3)",
    );
    verifyDatabase(db, executor.latestCommit);
    const { latestCommit } = executor;
    register(executor, "cid");
    assertThrows(
      () => verifyDatabase(old, { ...executor.latestCommit, message: undefined }),
      Error,
      "it lacks the account 3",
    );
    assertEquals(executor.latestCommit, { ...latestCommit, user: 3 });
    assertEquals(
      new Executor(db, ROOMY).latestCommit,
      executor.latestCommit,
      "read from the file",
    );
    old.close();
    db.close();
  }));

Deno.test("sqlite rescue: tracks the newest message when the clock goes back, and ignores duplicates", () => {
  const db = openDatabase(":memory:");
  const executor = new Executor(db, ROOMY);
  for (const name of ["ann", "bob"]) register(executor, name);
  send(executor, ["1"]);
  executor.run([{ changes: [["append", 1, 2, "2", "text", NOON - 1]], reads: [] }]);
  assertEquals(executor.latestCommit, { message: [1, 2, 2], user: 2 });
  send(executor, ["1"]);
  assertEquals(executor.latestCommit, { message: [1, 2, 2], user: 2 });
  db.close();
});

Deno.test("sqlite rescue: renames an incomplete copy, and reports the missing message", () =>
  withFolder(async (folder) => {
    const db = openDatabase(`${folder}/chat.db`);
    const copy = `${folder}/copy.db`;
    const problem = await copyDatabase(db, copy, { message: [1, 2, 7], user: 0 });
    assertStringIncludes(
      problem!,
      `${copy}.incomplete has the readable part of the database: it lacks the newest message`,
    );
    const names = [...Deno.readDirSync(folder)].map(({ name }) => name).filter((name) =>
      name.startsWith("copy")
    );
    assertEquals(names, ["copy.db.incomplete"]);
    db.close();
  }));

Deno.test("sqlite rescue: rejects the file while a reader prevents a full checkpoint", () =>
  withFolder((folder) => {
    const file = `${folder}/chat.db`;
    const db = openDatabase(file);
    const executor = new Executor(db, ROOMY);
    for (const name of ["ann", "bob"]) register(executor, name);
    const reader = new DatabaseSync(file);
    reader.exec("BEGIN; SELECT count(*) FROM User");
    send(executor, ["1"]);
    assertThrows(() => checkpointFully(db), Error, "another program is reading the database");
    reader.close();
    checkpointFully(db);
    Deno.copyFileSync(file, `${folder}/alone.db`);
    const alone = new DatabaseSync(`${folder}/alone.db`);
    verifyDatabase(alone, executor.latestCommit);
    alone.close();
    db.close();
  }));

Deno.test("sqlite rescue: detects a truncated log, also after a further commit", () =>
  withFolder((folder) => {
    for (const left of [0, 31, 33, 4_151, 20_000]) {
      const file = `${folder}/${left}.db`;
      const db = openDatabase(file);
      const executor = new Executor(db, ROOMY);
      for (const name of ["ann", "bob"]) register(executor, name);
      const reader = new DatabaseSync(file);
      reader.exec("BEGIN; SELECT count(*) FROM User"); // prevents SQLite from restarting the log
      send(executor, ["1", "2", "3", "4", "5"]);
      const probe = new WalProbe(file);
      assertEquals(probe.isComplete(), true);
      Deno.truncateSync(`${file}-wal`, left);
      send(executor, ["6"]);
      assertEquals(probe.isComplete(), false, `${left} bytes`);
      reader.close();
      db.close();
      probe[Symbol.dispose]();
    }
  }));

Deno.test("sqlite rescue: detects a log that lacks one byte", () =>
  withFolder((folder) => {
    const file = `${folder}/chat.db`;
    const db = openDatabase(file);
    register(new Executor(db, ROOMY), "ann");
    const probe = new WalProbe(file);
    assertEquals(probe.isComplete(), true);
    const { size } = Deno.statSync(`${file}-wal`);
    Deno.truncateSync(`${file}-wal`, size - 1);
    assertEquals(probe.isComplete(), false);
    db.close();
    probe[Symbol.dispose]();
  }));

const HARMS = [
  ["overwritten", (file: string, old: Uint8Array) => Deno.writeFile(file, old)],
  ["truncated", (file: string) => Deno.truncate(file, 4_096)],
  ["truncated", (file: string) => Deno.truncate(file, 0)],
] as const;

for (const [at, [words, harm]] of HARMS.entries()) {
  Deno.test(`sqlite rescue: acknowledges nothing after a file is ${words} (${at}), and reports truly`, () =>
    withFolder(async (folder) => {
      const file = `${folder}/chat.db`;
      const said: { event: string; copy?: string }[] = [];
      const log = (event: string, { copy }: Record<string, string>) =>
        void said.push({ event, ...copy && { copy } });
      const store = await SqliteStore.open(file, ROOMY, { warn: log, error: log });
      await store.start();
      const [sender, peer] = await makeUsers(store, 2) as [number, number];
      const old = await Deno.readFile(file);
      const append = (cid: string) =>
        store.append({ sender, peer, cid, body: "x".repeat(60_000), time: NOON });
      let count = 0;
      await until(async () => {
        granted(await append(`${count++}`));
        return (await Deno.stat(file)).size > old.length + 1_000_000;
      }, "the file to grow");
      for (let more = 0; more < 2; more++) { // so that the store has checked the grown file
        granted(await append(`${count++}`));
        const isIdle = () => {
          const [state] = sql(file, "PRAGMA wal_checkpoint(PASSIVE)");
          return state!.busy === 0 && state!.log === state!.checkpointed;
        };
        await until(isIdle, "the log to be copied");
      }
      await harm(file, old);
      await assertRejects(() => append("late"), StoreUnavailableError, `${words} while the server used it`);
      await until(() => said.length === 2, "the entry with the outcome");
      await store.close();
      const { event, copy } = said.at(-1)!;
      if (copy === undefined) {
        return assertEquals(event, "the database file was lost and could not be copied");
      }
      const db = openDatabase(copy);
      const row = db.prepare("SELECT count(*) AS n FROM AnyMessage").get();
      db.close();
      assertEquals(row!.n, count, event);
    }));
}
