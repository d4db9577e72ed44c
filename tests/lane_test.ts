/** Heavy work takes turns. */
import { assertEquals } from "@std/assert";
import { Lane } from "../lib/server/lane.ts";

/** Resolves when the event loop has come round. */
const round = () => new Promise<void>((resolve) => setTimeout(resolve, 0));

Deno.test("lane: one turn each time the event loop comes round, in the order of asking", async () => {
  const lane = new Lane();
  const log: string[] = [];
  const turns = ["a", "b", "c"].map(async (name) => {
    await lane.turn();
    log.push(name);
    queueMicrotask(() => log.push(`after ${name}`));
  });
  assertEquals(log, [], "not at once, even if nobody else waits");
  await Promise.all(turns);
  await round();
  assertEquals(log, ["a", "after a", "b", "after b", "c", "after c"]);
  await lane.turn(); // and again later
});
