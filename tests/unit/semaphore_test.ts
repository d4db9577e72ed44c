/** Work of which only so much is under way at a time. */
import { assertEquals, assertRejects } from "@std/assert";
import { Semaphore } from "../../lib/server/scheduling/semaphore.ts";

Deno.test("turns: so many at once, the first to come first, and what was begun is ended before more is begun", async () => {
  const turns = new Semaphore(2);
  const done: string[] = [];
  const waits = new Map<string, () => void>();
  const work = (name: string) => async () => {
    await new Promise<void>((resolve) => waits.set(name, resolve));
    done.push(name);
  };
  const all = [..."abcd"].map((name) => turns.run(work(name)));
  all.push(turns.runFirst(work("e")));
  const finish = async (name: string, then: readonly string[]) => {
    waits.get(name)!();
    waits.delete(name);
    await new Promise((resolve) => setTimeout(resolve, 0)); // all that can go on has gone on
    assertEquals([...waits.keys()], then);
  };
  assertEquals([...waits.keys()], ["a", "b"]);
  await finish("b", ["a", "e"]);
  await finish("a", ["e", "c"]);
  await finish("c", ["e", "d"]);
  await finish("e", ["d"]);
  const failing = turns.run(() => Promise.reject(new Error("no")));
  await assertRejects(() => failing, Error, "no");
  const next = turns.run(work("f")); // a failed one's turn is over
  assertEquals([...waits.keys()], ["d", "f"]);
  await finish("d", ["f"]);
  await finish("f", []);
  await Promise.all([...all, next]);
  assertEquals(done.join(""), "bacedf");
});
