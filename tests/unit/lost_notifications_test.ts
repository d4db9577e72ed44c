/** The channels with lost hints, within a bound. */
import { assertEquals } from "@std/assert";
import { LostNotifications } from "../../lib/bus/redis/lost_notifications.ts";

Deno.test("lost notifications: beyond 10,000 channels, all nodes check all their users (I7)", () => {
  const lost = new LostNotifications("all");
  for (let channel = 1; channel <= 10_000; channel++) lost.add(`${channel}`);
  lost.add("1"); // it is in memory already
  assertEquals([...lost.drain()].length, 10_000);
  for (let channel = 1; channel <= 10_002; channel++) lost.add(`${channel}`);
  assertEquals([...lost.drain()], ["all"]);
  assertEquals([...lost.drain()], []);
});
