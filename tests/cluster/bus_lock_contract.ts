/** The contract of the bus for locks and closing: one holder at a time, and no endless wait. */
import { assert, assertEquals, assertRejects } from "@std/assert";
import { BusUnavailableError } from "../../lib/bus/bus.ts";
import { type BusTest, freshBucket, HOURLY, message } from "./bus_fixture.ts";

export function lockContract(test: BusTest): void {
  test("a lock has one holder at a time, within a node and between nodes", async (a, b) => {
    let holders = 0;
    let most = 0;
    await Promise.all(Array.from({ length: 20 }, async (_, i) => {
      const release = await (i % 2 === 0 ? a : b).lock(1);
      most = Math.max(most, ++holders);
      await a.online([1]); // some time passes
      holders--;
      await release();
    }));
    assertEquals(most, 1);
  });

  test("locks of different users do not wait for each other", async (a, b) => {
    const releases = await Promise.all([a.lock(1), b.lock(2), a.lock(3)]);
    await Promise.all(releases.map((release) => release()));
  });

  test("grants a lock to a waiter when the holder releases it, once", async (a, b) => {
    const release = await a.lock(1);
    let taken = false;
    const second = b.lock(1).then((release) => {
      taken = true;
      return release;
    });
    await a.online([1]);
    assert(!taken);
    await release();
    const releaseSecond = await second;
    await release(); // a second time: it must not release the lock of the next holder
    let third = false;
    const last = a.lock(1).then((release) => {
      third = true;
      return release;
    });
    await a.online([1]);
    assert(!third);
    await releaseSecond();
    await (await last)();
  });

  test("a node that closes releases its locks, and rejects its waiters", async (a, b) => {
    const release = await a.lock(1);
    const other = await b.lock(2);
    const waiting = [a.lock(2), a.lock(1)]; // after the other node, and after itself
    const [results] = await Promise.all([Promise.allSettled(waiting), a.close()]);
    assertEquals(results.map(({ status }) => status), ["rejected", "rejected"]);
    await (await b.lock(1))();
    await release(); // too late, and without effect
    await other();
    await (await b.lock(2))();
  });

  test("a closed bus rejects calls, and publishes nothing", async (a, b, atA, atB) => {
    await b.subscribe(1);
    await a.close();
    await a.close();
    await assertRejects(() => a.subscribe(1), BusUnavailableError);
    await assertRejects(() => a.lock(1), BusUnavailableError);
    await assertRejects(() => a.online([1]), BusUnavailableError);
    await assertRejects(() => a.tryConsume(freshBucket(), HOURLY, 1), BusUnavailableError);
    a.publish(1, message(1));
    await a.unsubscribe(1);
    await b.online([1]);
    assertEquals([atA.hints, atB.hints], [[], []]);
  });
}
