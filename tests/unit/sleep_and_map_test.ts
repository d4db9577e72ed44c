/** Waiting for time to pass, and the map of bounded size. */
import { assert, assertEquals } from "@std/assert";
import { BoundedMap } from "../../lib/bounded_map.ts";
import { sleep } from "../../lib/sleep.ts";

Deno.test("sleep: resolves when the signal is aborted, or at once if it was", async () => {
  const controller = new AbortController();
  const began = performance.now();
  const slept = sleep(60_000, controller.signal);
  controller.abort();
  await slept;
  await sleep(60_000, controller.signal);
  assert(performance.now() - began < 10_000);
});

Deno.test("sleep: resolves after its time, and leaves no listener on the signal", async () => {
  const controller = new AbortController();
  let listeners = 0;
  const { addEventListener, removeEventListener } = controller.signal;
  controller.signal.addEventListener = function (this: AbortSignal, ...args: unknown[]) {
    listeners++;
    return Reflect.apply(addEventListener, this, args);
  };
  controller.signal.removeEventListener = function (this: AbortSignal, ...args: unknown[]) {
    listeners--;
    return Reflect.apply(removeEventListener, this, args);
  };
  const began = performance.now();
  await sleep(20, controller.signal);
  assert(performance.now() - began >= 19);
  assertEquals(listeners, 0);
});

Deno.test("bounded map: evicts the entry whose last set is the longest ago", () => {
  const map = new BoundedMap<string, number>(2);
  assertEquals([map.set("a", 1), map.set("b", 2), map.set("a", 3)], [undefined, undefined, undefined]);
  map.get("b"); // does not count as a use
  assertEquals(map.set("c", 4), 2, "the value of b");
  assertEquals(["a", "b", "c"].map((key) => map.get(key)), [3, undefined, 4]);
  map.delete("a");
  assertEquals([map.set("d", 5), map.has("a"), map.has("c")], [undefined, false, true], "there was room");
  map.clear();
  assertEquals(map.has("c"), false);
});
