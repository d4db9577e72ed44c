/** The contract of the bus for hints: their content, their recipients and their order. */
import { assertEquals } from "@std/assert";
import { type BusTest, hints, message } from "./bus_fixture.ts";

export function hintContract(test: BusTest): void {
  test("delivers hints of every kind on channels of users and groups", async (a, b, _, atB) => {
    await b.subscribe(5);
    await b.subscribe(-5);
    for (const hint of hints) {
      a.publish(5, hint);
      a.publish(-5, hint);
    }
    const expected = hints.flatMap((hint) => [[5, hint], [-5, hint]]);
    assertEquals(await atB.atLeast(expected.length), expected);
  });

  test("delivers the hints of one node on a channel in order", async (a, b, _, atB) => {
    const channels = [1, -2, 3];
    await Promise.all(channels.map((channel) => b.subscribe(channel)));
    for (let seq = 1; seq <= 1_000; seq++) for (const channel of channels) a.publish(channel, message(seq));
    const came = await atB.atLeast(3_000);
    for (const channel of channels) {
      assertEquals(
        came.filter(([on]) => on === channel),
        Array.from({ length: 1_000 }, (_, i) => [channel, message(i + 1)]),
      );
    }
  });

  test("delivers a hint to other nodes only, and not during publish", async (a, b, atA, atB) => {
    await Promise.all([a.subscribe(1), b.subscribe(1)]);
    a.publish(1, message(1));
    assertEquals([atA.hints, atB.hints], [[], []]);
    await atB.atLeast(1);
    b.publish(1, message(2));
    assertEquals(await atA.atLeast(1), [[1, message(2)]]);
    assertEquals(atB.hints, [[1, message(1)]]);
  });

  test("delivers hints on subscribed channels only, until they are unsubscribed", async (a, b, _, atB) => {
    await b.subscribe(1);
    await b.subscribe(2);
    a.publish(3, message(3));
    a.publish(-1, message(4));
    a.publish(1, message(1));
    await atB.atLeast(1);
    await b.unsubscribe(1);
    await b.unsubscribe(99);
    a.publish(1, message(5));
    a.publish(2, message(2));
    assertEquals(await atB.atLeast(2), [[1, message(1)], [2, message(2)]]);
  });

  test(
    "treats a repeated subscription as one, and subscribes again after unsubscribing",
    async (a, b, _, atB) => {
      await b.subscribe(1);
      await b.subscribe(1);
      a.publish(1, message(1));
      await atB.atLeast(1);
      await b.unsubscribe(1);
      assertEquals(await a.online([1]), new Set());
      await b.subscribe(1);
      a.publish(1, message(2));
      assertEquals(await atB.atLeast(2), [[1, message(1)], [1, message(2)]]);
    },
  );
}
