/** Tests of the memtable: the rate of compaction, and results that do not depend on it. */
import { assert, assertEquals } from "@std/assert";
import type { Batch } from "../../lib/store/sqlite/calls.ts";
import { openDatabase } from "../../lib/store/sqlite/database.ts";
import { Executor } from "../../lib/store/sqlite/executor.ts";
import { Memtable } from "../../lib/store/sqlite/memtable.ts";
import { NOON, ROOMY } from "./store_fixture.ts";

const GENERATION = 20;

/** A database with users 1 to 4 and a group of the first two, and its executor. */
class Fixture {
  readonly db = openDatabase(":memory:");
  readonly #generation: number;
  #executor: Executor;

  constructor(generation: number) {
    this.#generation = generation;
    this.#executor = this.#begin();
  }

  /** What the batch's changes and then its reads gave; an Error in the place of what failed. */
  run(changes: Batch["changes"], reads: Batch["reads"] = []): unknown[] {
    const [{ results, failures }] = this.#executor.run([{ changes, reads }]) as [
      { results: unknown[]; failures: Map<number, unknown> },
    ];
    const done = results.map((result, i) => failures.get(i) ?? result);
    const left = reads.slice(results.length - changes.length); // reads beyond the budget
    return left.length > 0 ? [...done, ...this.run([], left)] : done;
  }

  /** As if a new process had opened the file. */
  restart(): void {
    this.#executor = this.#begin();
  }

  /** Numbers of message rows: compacted ones, and those in RecentMessage. */
  get rows(): [compacted: number, recent: number] {
    const count = (table: string) => this.db.prepare(`SELECT count(*) AS n FROM ${table}`).get()!.n as number;
    return [count("Message"), count("RecentMessage")];
  }

  #begin(): Executor {
    return new Executor(this.db, ROOMY, new Memtable(this.db, this.#generation));
  }
}

function withUsers(body: (fixture: Fixture) => void, generation = GENERATION): void {
  const fixture = new Fixture(generation);
  try {
    fixture.run([1, 2, 3, 4].map((n) => ["createUser", `u${n}`, "hash"]));
    fixture.run([["createGroup", 1, "team", ""], ["joinGroup", 2, 1]]);
    body(fixture);
  } finally {
    fixture.db.close();
  }
}

/** Returns a call that appends message `n` of user 1, to the peers in turn. */
function message(n: number, peer = [2, 3, -1][n % 3]!, body = `text ${n}`): Batch["changes"][number] {
  return ["append", 1, peer, `cid ${n}`, body, NOON + n];
}

const range = (from: number, to: number) => Array.from({ length: to - from }, (_, i) => from + i);

/** Returns calls of all reads on the conversations of user 1 with users 2 and 3 and the group. */
function view(fixture: Fixture): unknown {
  const answers = fixture.run([], [
    ...[2, 3, -1].flatMap((peer): Batch["reads"] => [
      ["read", 1, peer, 0, 1_000, 1e9],
      ["history", 1, peer, undefined, 1_000, 1e9],
    ]),
    ["unread", 2, 10],
    ["unread", 3, 10],
    ["usersWithUnread", [1, 2, 3]],
  ]);
  const rows = (sql: string) => fixture.db.prepare(sql).all().map((row) => ({ ...row }));
  return [
    answers,
    rows("SELECT * FROM AnyMessage WHERE high <> 4 ORDER BY low, high, seq"),
    rows("SELECT userid, message FROM OfflineMessage WHERE userid < 4 ORDER BY userid, message"),
  ];
}

Deno.test("sqlite memtable: gives the same results before and after compaction and restarts", () =>
  withUsers((fixture) =>
    withUsers((uncompacted) => {
      const total = 10 * GENERATION;
      for (let n = 0, batch = 0; n < total; batch++) {
        const calls: Batch["changes"][number][] = range(n, n + 1 + (batch * 7) % 13).map((n) => message(n));
        n += calls.length;
        const user = 2 + batch % 2;
        if (batch % 4 === 0) calls.push(["advanceCursors", [user, 1, Math.floor(n / 6)]]);
        assertEquals(fixture.run(calls), uncompacted.run(calls));
        const [compacted, recent] = fixture.rows;
        assert(
          recent <= 3 * GENERATION + 13 && compacted + recent >= n,
          `${compacted} and ${recent} of ${n}`,
        );
        assertEquals(view(fixture), view(uncompacted));
        if (batch % 3 === 0) {
          fixture.restart();
          assertEquals(view(fixture), view(uncompacted));
        }
      }
      assert(fixture.rows[0] > total - 2 * GENERATION);
      assertEquals(uncompacted.rows[0], 0);
    }, Infinity)
  ));

Deno.test("sqlite memtable: continues a page from compacted to recent messages, and back", () =>
  withUsers((fixture) => {
    const total = 3 * GENERATION;
    for (let n = 0; n < total; n += 5) fixture.run(range(n, n + 5).map((n) => message(n, 2)));
    const [compacted, recent] = fixture.rows;
    assert(compacted > 0 && recent > 0);
    const texts = (result: unknown) => {
      const page = result as { messages: { body: string }[] } | { body: string }[];
      return ("messages" in page ? page.messages : page).map(({ body }) => body);
    };
    const expected = (from: number, to: number) =>
      range(Math.max(0, from), Math.min(total, to)).map((n) => `text ${n}`);
    const [size] = ["text 10".length];
    for (let at = 0; at <= total + 1; at++) {
      for (const limit of [1, 2, 7, total]) {
        const [after, before] = fixture.run([], [["read", 2, 1, at, limit, 1e9], [
          "history",
          2,
          1,
          at,
          limit,
          1e9,
        ]]);
        assertEquals(texts(after), expected(at, at + limit), `after ${at}`);
        assertEquals(texts(before), expected(Math.min(at - 1, total) - limit, at - 1), `before ${at}`);
      }
      const [few] = fixture.run([], [["read", 2, 1, at, total, 3 * size]]); // bytes
      if (at >= 10) assertEquals(texts(few), expected(at, at + 3));
    }
  }));

Deno.test("sqlite memtable: omits exactly an operator's deletions, compacted or not", () => {
  const gaps = ["seq = 1", "seq <= 3", "seq IN (2, 4)", "seq BETWEEN 2 AND 5", "seq <= 6"];
  for (const gap of gaps) {
    withUsers((fixture) =>
      withUsers((uncompacted) => {
        for (let n = 0; n < 3 * GENERATION; n++) {
          for (const each of [fixture, uncompacted]) each.run([message(n)]);
        }
        const { compacted, left } = fixture.db.prepare(
          `SELECT count(*) FILTER (WHERE ${gap}) AS compacted, count(*) FILTER (WHERE seq > 6) AS "left" FROM Message`,
        ).get()!;
        assert(compacted as number > 0 && left as number > 0, "the gaps are among compacted messages");
        for (const each of [fixture, uncompacted]) {
          for (const table of ["Message", "RecentMessage"]) each.db.exec(`DELETE FROM ${table} WHERE ${gap}`);
        }
        uncompacted.restart(); // the memtable is loaded again
        for (let seq = 0; seq <= 7; seq++) {
          for (const each of [fixture, uncompacted]) each.run([["advanceCursors", [2, 1, seq]]]);
          assertEquals(view(fixture), view(uncompacted), `${gap}, cursor ${seq}`);
        }
        fixture.restart();
        assertEquals(view(fixture), view(uncompacted), `${gap}, restarted`);
        const next = [message(3 * GENERATION), message(3 * GENERATION + 1)];
        assertEquals(fixture.run(next), uncompacted.run(next));
      }, Infinity)
    );
  }
});

Deno.test("sqlite memtable: assigns no seq twice when the last compacted messages are deleted", () =>
  withUsers((fixture) => {
    const total = 2 * GENERATION;
    for (let n = 0; n < total; n++) fixture.run([message(n, 2)]);
    for (let n = total; n < 2 * total; n++) fixture.run([message(n, 3)]);
    const row = "SELECT max(seq) AS last FROM Message WHERE high = 2";
    assertEquals(fixture.db.prepare(row).get()!.last, total, "all of the first conversation is compacted");
    for (const [from, left] of [[total - 3, total - 4], [1, 0]] as const) {
      fixture.db.exec(`DELETE FROM Message WHERE high = 2 AND seq >= ${from}`);
      for (let again = 0; again < 2; again++) {
        const [page, history] = fixture.run([], [
          ["read", 2, 1, 0, total, 1e9],
          ["history", 2, 1, undefined, total, 1e9],
        ]) as [{ messages: unknown[] }, unknown[]];
        assertEquals([page.messages.length, history.length], [left, left]);
        assertEquals((fixture.run([], [["unread", 2, 10]])[0] as unknown[]).length, left > 0 ? 1 : 0);
        assertEquals(fixture.run([], [["usersWithUnread", [2]]]), [left > 0 ? [2] : []]);
        fixture.restart();
      }
    }
    assertEquals(fixture.run([message(2 * total, 2)]), [total + 1]);
    assertEquals((fixture.run([], [["unread", 2, 10]])[0] as { last: number }[])[0]!.last, total + 1);
  }));

Deno.test("sqlite memtable: finds a cid whether its message is compacted or not", () =>
  withUsers((fixture) => {
    const total = 3 * GENERATION;
    const sent = range(0, total).map((n) => message(n));
    const seqs = range(0, total / 5).flatMap((i) => fixture.run(sent.slice(5 * i, 5 * i + 5)));
    const [compacted, recent] = fixture.rows;
    assert(compacted > 0 && recent > 0);
    for (const again of [sent, sent.toReversed()]) { // one per batch, and all in one batch
      const expected = again.map((call) => {
        const n = sent.indexOf(call);
        return { seq: seqs[n], time: NOON + n, duplicate: true };
      });
      assertEquals(fixture.run(again), expected);
      assertEquals(again.flatMap((call) => fixture.run([call])), expected);
    }
    assertEquals(
      fixture.run(range(0, total).map((n) => message(n, 4))),
      range(0, total).map(() => ({ refused: "cid_reused" })),
    );
    assertEquals(fixture.rows, [compacted, recent]);
    assertEquals(fixture.run([message(total, 2)]), [total / 3 + 1], "repeats have used up no seq");
  }));

Deno.test("sqlite memtable: compacts from the first full generation on, slightly more than arrives", () =>
  withUsers((fixture) => {
    const next = (n: number) => fixture.run([message(n, 2, "")]);
    range(0, GENERATION - 1).forEach(next);
    next(GENERATION - 1);
    assertEquals(fixture.rows, [0, GENERATION]);
    next(GENERATION);
    assertEquals(fixture.rows, [2, GENERATION + 1], "1.25 for one, and not less");
    fixture.run([["claimAccount", 1]]);
    assertEquals(fixture.rows, [2, GENERATION + 1]);
    range(GENERATION + 1, GENERATION + 8).forEach(next);
    assertEquals(fixture.rows, [10, GENERATION + 8], "1.25 for each, and not more");
    range(GENERATION + 8, GENERATION + 16).forEach(next);
    assertEquals(fixture.rows, [GENERATION, 16], "the generation is done, and gone from where it came");
    range(GENERATION + 16, 2 * GENERATION).forEach(next);
    assertEquals(fixture.rows, [GENERATION, GENERATION]);
    next(2 * GENERATION);
    assertEquals(fixture.rows, [GENERATION + 2, GENERATION + 1], "the next generation, at the same rate");
  }));

Deno.test("sqlite memtable: compacts 64 parts of a generation, whatever the size of the commits", () => {
  const large = 64 * 10;
  withUsers((fixture) => {
    for (const n of range(0, large)) fixture.run([message(n, 2, "")]);
    for (const n of range(large, large + 7)) fixture.run([message(n, 2, "")]);
    assertEquals(fixture.rows, [0, large + 7], "8.75 are less than a part");
    fixture.run([message(large + 7, 2, "")]);
    assertEquals(fixture.rows, [10, large + 8]);
    fixture.run(range(large + 8, large + 32).map((n) => message(n, 2, "")));
    assertEquals(fixture.rows, [40, large + 32], "several parts in a large commit");
  }, large);
});

Deno.test("sqlite memtable: has fewer messages in a generation when they are large", () =>
  withUsers((fixture) => {
    const next = (n: number, size: number) => fixture.run([message(n, 2, "x".repeat(size))]);
    next(0, (GENERATION - 2) * 512 - 1);
    next(1, 0);
    assertEquals(fixture.rows, [0, 2]);
    next(2, 1);
    assertEquals(fixture.rows, [0, 3]);
    next(3, 0);
    assertEquals(fixture.rows, [1, 4], "with the third it was full");
    for (const n of range(4, 18)) next(n, 0);
    assertEquals(fixture.rows, [1, 18], "the large one counts for many");
    next(18, 0);
    assertEquals(fixture.rows, [3, 16], "the small ones behind the large one");
  }));

Deno.test("sqlite memtable: compacts small messages by a large one's weight, not by its length", () =>
  withUsers((fixture) => {
    for (const n of range(0, GENERATION)) fixture.run([message(n, 2, "small")]);
    fixture.run([message(GENERATION, 2, "x".repeat(3 * 512))]);
    assertEquals(fixture.rows, [5, GENERATION + 1], "1.25 for each of four");
  }));

Deno.test("sqlite memtable: loses nothing when compaction fails, and resumes it later", () =>
  withUsers((fixture) => {
    for (const n of range(0, GENERATION)) fixture.run([message(n)]);
    for (const action of ["ABORT", "ROLLBACK"]) {
      fixture.db.exec(`CREATE TRIGGER Full BEFORE INSERT ON Message BEGIN
        SELECT RAISE(${action}, 'the disk is full'); END`);
      const [begun] = fixture.rows;
      const next = GENERATION + fixture.rows[1];
      assertEquals(fixture.run([message(next, 4), message(next + 1, 4)]).map((seq) => typeof seq), [
        "number",
        "number",
      ]);
      assertEquals(fixture.rows[0], begun);
      fixture.db.exec("DROP TRIGGER Full");
    }
    const before = view(fixture);
    fixture.run([message(1_000, 4)]);
    assertEquals(fixture.rows[0], 7, "1.25 for each of five");
    for (const n of range(1_001, 1_000 + 3 * GENERATION)) fixture.run([message(n, 4)]);
    assertEquals(view(fixture), before);
  }));

Deno.test("sqlite memtable: removes the messages of a transaction that is rolled back", () =>
  withUsers((fixture) => {
    fixture.run([message(0, 2)]);
    fixture.db.exec(`CREATE TRIGGER Full BEFORE INSERT ON RecentMessage WHEN NEW.cid = 'cid 3'
      BEGIN SELECT RAISE(ROLLBACK, 'the disk is full'); END`);
    const results = fixture.run([message(1, 2), message(2, 3), message(3, 2)], [["read", 2, 1, 0, 10, 1e9]]);
    assert(results.slice(0, 3).every((result) => result instanceof Error));
    assertEquals((results[3] as { messages: unknown[] }).messages.length, 1);
    fixture.db.exec("DROP TRIGGER Full");
    assertEquals(fixture.run([message(2, 3), message(1, 2), message(3, 2)]), [1, 2, 3]);
    fixture.restart();
    assertEquals(fixture.run([message(4, 2), message(5, 3)]), [4, 2]);
  }));

Deno.test("sqlite memtable: returns the same texts before and after compaction and a restart", () =>
  withUsers((fixture) => {
    const texts = ["a\u0000b", "\uFEFFx", "\u{1F600}".repeat(3), "", "é"];
    const sent = texts.map((
      text,
      i,
    ): Batch["changes"][number] => ["append", 1, 2, `${text}${i}`, text, NOON]);
    fixture.run(sent);
    const before = view(fixture);
    fixture.restart();
    assertEquals(view(fixture), before);
    for (const n of range(0, 3 * GENERATION)) fixture.run([message(n, 4)]);
    assertEquals(view(fixture), before);
    const bodies =
      (fixture.run([], [["read", 2, 1, 0, 10, 1e9]])[0] as { messages: { body: string }[] }).messages;
    assertEquals(bodies.map(({ body }) => body), texts);
    const few = fixture.run([], [["read", 2, 1, 2, 10, 12]])[0] as { messages: unknown[] };
    assertEquals(few.messages.length, 2, "12 bytes are three of four bytes, and nothing");
  }));
