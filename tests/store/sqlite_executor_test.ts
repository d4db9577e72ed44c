/** Tests of the executor: batches of several stores in one transaction, each with its own reply. */
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

/** Returns a call that appends a message of user 1 to user 2. The schema rejects a time that is NaN. */
function append(cid: string, time = NOON): Batch["changes"][number] {
  return ["append", 1, 2, cid, cid, time];
}

const TWO_USERS = batch([["createUser", "u1", "hash"], ["createUser", "u2", "hash"]]);

Deno.test("sqlite executor: returns each batch's own results, and its reads see all changes", () =>
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

Deno.test("sqlite executor: reports a failing call in its own batch, and commits all others", () =>
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

Deno.test("sqlite executor: fails the changes of all batches, but no reads, when SQLite rolls back", () =>
  withExecutor((executor, db) => {
    executor.run([TWO_USERS]);
    // SQLite rolls the whole transaction back like this when the disk is full.
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
