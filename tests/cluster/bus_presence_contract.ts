/** The contract of the bus for presence: online users, and nodes that leave. */
import { assertEquals } from "@std/assert";
import { until } from "../harness/wait.ts";
import { type BusTest, message } from "./bus_fixture.ts";

export function presenceContract(test: BusTest): void {
  test("a user is online while any node is subscribed, the calling one included", async (a, b) => {
    await Promise.all([a.subscribe(1), b.subscribe(2), a.subscribe(3), b.subscribe(3), b.subscribe(-4)]);
    for (const node of [a, b]) assertEquals(await node.online([1, 2, 3, 4, 5]), new Set([1, 2, 3]));
    assertEquals(await a.online([5, 2]), new Set([2]));
    assertEquals(await a.online([]), new Set());
    await Promise.all([a.unsubscribe(3), a.unsubscribe(1)]);
    assertEquals(await a.online([1, 2, 3]), new Set([2, 3]));
    await b.unsubscribe(3);
    assertEquals(await a.online([1, 2, 3]), new Set([2]));
  });

  test("reports a node that closes to the others, and not to itself", async (_, b, atA, atB) => {
    await b.close();
    await atA.until(() => atA.left > 0, () => "no node was reported as left");
    assertEquals(atA.silences, [], "a closed node commits no more messages");
    assertEquals(atB.left, 0);
  });

  test("a node that closes takes its users offline and receives nothing more", async (a, b, _, atB) => {
    await Promise.all([a.subscribe(1), b.subscribe(1), b.subscribe(2)]);
    await b.close();
    await until(async () => (await a.online([1, 2])).size === 1, "the other node's user to be offline");
    assertEquals(await a.online([1, 2]), new Set([1]));
    a.publish(2, message(1));
    await a.online([2]);
    assertEquals(atB.hints, []);
  });
}
