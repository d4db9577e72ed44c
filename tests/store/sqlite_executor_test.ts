/** The embedded store's thread: batches of several clients in one transaction, each with an answer of its own. */
import { assert, assertEquals } from "@std/assert";
import type { DatabaseSync } from "node:sqlite";
import type { Batch } from "../../lib/store/sqlite/calls.ts";
import { openDatabase } from "../../lib/store/sqlite/database.ts";
import { Executor } from "../../lib/store/sqlite/executor.ts";
import { NOON, ROOMY } from "./store_fixture.ts";

function withExecutor(body: (executor: Executor, db: DatabaseSync) => void): void {
  const db = openDatabase(":memory:");
  try {
    body(new Executor(db, ROOMY), db);
  } finally {
    db.close();
  }
}

function batch(changes: Batch["changes"], reads: Batch["reads"] = []): Batch {
  return { changes, reads };
}

/** A call that appends a message of user 1 to user 2. A time that isn't a number is refused by the schema. */
function append(cid: string, time = NOON): Batch["changes"][number] {
  return ["append", 1, 2, cid, cid, time];
}

const TWO_USERS = batch([["createUser", "u1", "hash"], ["createUser", "u2", "hash"]]);

Deno.test("sqlite: each batch is answered with its own results, and its reads see all changes", () =>
  withExecutor((executor) => {
    const answers = executor.run([
      batch([], [["latestLoginEpochs", [1, 2]]]),
      TWO_USERS,
      batch([append("a"), append("b")], [["findSession", 1], ["usersWithUnread", [1, 2]]]),
      batch([]),
      batch([append("a"), ["claimAccount", 2]]),
    ]);
    assertEquals(answers.map(({ results }) => results), [
      [new Map([[1, 0], [2, 1]])],
      [{ id: 1 }, { id: 2 }],
      [1, 2, undefined, [1, 2]],
      [],
      [{ seq: 1, time: NOON, duplicate: true }, 1],
    ]);
    assert(answers.every(({ failures }) => failures.size === 0));
  }));

Deno.test("sqlite: a call that fails does so in its own batch, and all others are committed", () =>
  withExecutor((executor) => {
    executor.run([TWO_USERS]);
    const answers = executor.run([
      batch([append("a"), append("b", NaN), append("c")]),
      batch([append("d"), append("e")], [["latestLoginEpochs", [1]]]),
      batch([append("f", NaN), append("g")]),
    ]);
    assertEquals(answers.map(({ results }) => results), [
      [1, undefined, 2],
      [3, 4, new Map([[1, 0]])],
      [undefined, 5],
    ]);
    assertEquals(answers.map(({ failures }) => [...failures.keys()]), [[1], [], [0]]);
  }));

Deno.test("sqlite: a transaction that is lost is so for all batches, but not for their reads", () =>
  withExecutor((executor, db) => {
    executor.run([TWO_USERS]);
    // When the disk is full, SQLite undoes the transaction like this, all of it at once.
    db.exec(`CREATE TRIGGER Full BEFORE INSERT ON RecentMessage WHEN NEW.cid = 'bad'
      BEGIN SELECT RAISE(ROLLBACK, 'the disk is full'); END`);
    const batches = [
      batch([append("a")], [["usersWithUnread", [1, 2]]]),
      batch([append("bad")]),
      batch([["claimAccount", 1], ["claimAccount", 2]]),
    ];
    const answers = executor.run(batches);
    assertEquals(answers.map(({ failures }) => [...failures.keys()]), [[0], [0], [0, 1]]);
    assertEquals(answers[0]!.results, [undefined, []]);
    assertEquals(executor.run([batch([append("a"), ["claimAccount", 2]])])[0]!.results, [1, 1]);
  }));
