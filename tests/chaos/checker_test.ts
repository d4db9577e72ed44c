/**
 * The checker of the chaos suite: it accepts correct histories, and reports each kind of fault in a history.
 */
import { assert, assertEquals } from "@std/assert";
import { check, type Finding, lineOf } from "./checker.ts";
import { goodHistory } from "./check/good_history.ts";
import { FAULTY_HISTORIES } from "./check/faulty_histories.ts";
import { Random } from "../harness/random.ts";

const SEEDS = 10;

Deno.test("checker: finds nothing in correct histories", () => {
  for (let seed = 0; seed < 100; seed++) {
    assertEquals(check(goodHistory(seed)).map(lineOf), [], `seed ${seed}`);
  }
});

Deno.test("checker: checks a run of usual length in little time", () => {
  const began = performance.now();
  const history = goodHistory(1, 30_000);
  const made = performance.now();
  assertEquals(check(history), []);
  const events = [...history.users.values()].reduce((sum, { length }) => sum + length, 0);
  assert(events > 20_000, `${events} events`);
  assert(
    performance.now() - made < 10_000,
    `took ${performance.now() - made} ms, and making it ${made - began} ms`,
  );
});

for (const [what, change] of Object.entries(FAULTY_HISTORIES)) {
  Deno.test(`checker: finds that ${what}`, () => {
    for (let seed = 0; seed < SEEDS; seed++) {
      const history = goodHistory(seed);
      const expected = change(history, new Random(seed));
      const found = check(history);
      const isIt = (finding: Finding) =>
        Object.entries(expected).every(([key, value]) => {
          const is = finding[key as keyof Finding];
          return value instanceof RegExp ? value.test(String(is)) : is === value;
        });
      assert(
        found.some(isIt),
        `seed ${seed}: ${JSON.stringify(expected)} not in\n${found.map(lineOf).join("\n")}`,
      );
    }
  });
}

Deno.test("checker: reports a finding in one line with the message, the user and the events", () => {
  const history = goodHistory(1);
  const row = history.log.find(({ seq }) => seq === 1)!;
  history.log[history.log.indexOf(row)] = { ...row, body: "other\ntext" };
  const [line] = check(history).map(lineOf);
  assertEquals(
    line,
    `altered: user ${row.sender}, ${row.in}, seq 1, cid ${row.cid}: from its character 0 on, ` +
      `${JSON.stringify(row.body)} has become "other\\ntext" (lengths ${row.body.length}, 10)`,
  );
});
