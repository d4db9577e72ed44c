/** A semaphore: how much is in progress, and in which order. */
import { assertEquals, assertRejects } from "@std/assert";
import { Semaphore } from "../../lib/server/scheduling/semaphore.ts";

Deno.test("semaphore: runs as many as it may, in order, and last parts before new work", async () => {
  const semaphore = new Semaphore(2);
  const done: string[] = [];
  const waits = new Map<string, () => void>();
  const work = (name: string) => async () => {
    await new Promise<void>((resolve) => waits.set(name, resolve));
    done.push(name);
  };
  const all = [..."abcd"].map((name) => semaphore.run(work(name)));
  all.push(semaphore.runFirst(work("e")));
  const finish = async (name: string, then: readonly string[]) => {
    waits.get(name)!();
    waits.delete(name);
    await new Promise((resolve) => setTimeout(resolve, 0)); // all that is ready has run
    assertEquals([...waits.keys()], then);
  };
  assertEquals([...waits.keys()], ["a", "b"]);
  await finish("b", ["a", "e"]);
  await finish("a", ["e", "c"]);
  await finish("c", ["e", "d"]);
  await finish("e", ["d"]);
  const failing = semaphore.run(() => Promise.reject(new Error("no")));
  await assertRejects(() => failing, Error, "no");
  const next = semaphore.run(work("f")); // a failed one is over
  assertEquals([...waits.keys()], ["d", "f"]);
  await finish("d", ["f"]);
  await finish("f", []);
  await Promise.all([...all, next]);
  assertEquals(done.join(""), "bacedf");
});
