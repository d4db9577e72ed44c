/** The contract of the bus for buckets: rates that all nodes share. */
import { assert, assertEquals } from "@std/assert";
import { TIMEOUT_MS } from "../harness/wait.ts";
import { type BusTest, freshBucket, HOURLY } from "./bus_fixture.ts";

/** Milliseconds by which a timer may be early, by another clock than its own. */
const TIMER_SLACK_MS = 5;

export function bucketContract(test: BusTest): void {
  test("a bucket holds exactly its burst, for any burst", async (a) => {
    for (const burst of [1, 2, 3, 7, 10, 300, 999]) {
      const bucket = freshBucket();
      const quota = { burst, periodMs: 3_600_000 };
      for (let count = 1; count <= burst; count++) {
        assertEquals(await a.tryConsume(bucket, quota, 1), 0, `${count} of ${burst}`);
      }
      const wait = await a.tryConsume(bucket, quota, 1);
      assert(Number.isInteger(wait), `${wait}`);
      const each = Math.ceil(quota.periodMs / burst);
      assert(wait <= each && wait > each - TIMEOUT_MS, `${wait} ms for 1 of ${burst}`);
    }
  });

  test("takes several tokens at once, or none if the bucket holds fewer", async (a) => {
    const bucket = freshBucket();
    assertEquals(await a.tryConsume(bucket, HOURLY, 5), 0);
    const each = HOURLY.periodMs / HOURLY.burst;
    for (const [count, missing] of [[3, 1], [7, 5], [3, 1]] as const) {
      const wait = await a.tryConsume(bucket, HOURLY, count);
      assert(wait <= missing * each + 1 && wait > missing * each - TIMEOUT_MS, `${wait} ms for ${count}`);
    }
    assertEquals(await a.tryConsume(bucket, HOURLY, 2), 0);
    assert(await a.tryConsume(bucket, HOURLY, 1) > 0);
    assertEquals(await a.tryConsume(bucket, HOURLY, 0), 0, "0 tokens are always available");
  });

  test("refunds tokens, up to the burst", async (a) => {
    const bucket = freshBucket();
    assertEquals(await a.tryConsume(bucket, HOURLY, 7), 0);
    assertEquals(await a.tryConsume(bucket, HOURLY, -2), 0);
    assertEquals(await a.tryConsume(bucket, HOURLY, 2), 0);
    assert(await a.tryConsume(bucket, HOURLY, 1) > 0);
    assertEquals(await a.tryConsume(bucket, HOURLY, -7), 0);
    for (let more = 0; more < 3; more++) assertEquals(await a.tryConsume(bucket, HOURLY, -7), 0);
    assertEquals(await a.tryConsume(bucket, HOURLY, 7), 0);
    assert(await a.tryConsume(bucket, HOURLY, 1) > 0);
  });

  test("nodes share buckets by their names", async (a, b) => {
    const [bucket, other] = [freshBucket(), freshBucket()];
    for (const node of [a, b, a, b, a, b, a]) assertEquals(await node.tryConsume(bucket, HOURLY, 1), 0);
    for (const node of [a, b]) assert(await node.tryConsume(bucket, HOURLY, 1) > 0);
    assertEquals(await b.tryConsume(other, HOURLY, 7), 0);
    assertEquals(await b.tryConsume(bucket, HOURLY, -1), 0);
    assertEquals(await a.tryConsume(bucket, HOURLY, 1), 0);
  });

  test("concurrent calls never take more than the bucket holds", async (a, b) => {
    const bucket = freshBucket();
    const quota = { burst: 50, periodMs: 3_600_000 };
    const waits = await Promise.all(
      Array.from({ length: 200 }, (_, i) => (i % 2 === 0 ? a : b).tryConsume(bucket, quota, 1)),
    );
    assertEquals(waits.filter((wait) => wait === 0).length, quota.burst);
  });

  test("tokens are available after the returned time, and not before", async (a, b) => {
    // It may be available after all if the machine paused between two calls: then another bucket must do.
    for (
      const quota of [{ burst: 4, periodMs: 400 }, { burst: 4, periodMs: 4_000 }, {
        burst: 4,
        periodMs: 40_000,
      }]
    ) {
      const bucket = freshBucket();
      const begun = performance.now();
      assertEquals(await a.tryConsume(bucket, quota, 4), 0);
      const half = await b.tryConsume(bucket, quota, 2);
      const asked = performance.now();
      if (half === 0) continue;
      assert(
        half >= Math.floor(quota.periodMs / 2 - (asked - begun)) && half <= quota.periodMs / 2,
        `${half}`,
      );
      await new Promise((resolve) => setTimeout(resolve, half + TIMER_SLACK_MS));
      assertEquals(await a.tryConsume(bucket, quota, 2), 0);
      const third = await b.tryConsume(bucket, quota, 2);
      const passed = performance.now() - begun;
      assert(third > 0 || passed >= quota.periodMs, `${passed} ms gave back more than they should`);
      return;
    }
  });

  test("a bucket works with another limit", async (a) => {
    const bucket = freshBucket();
    assertEquals(await a.tryConsume(bucket, HOURLY, 7), 0);
    const shorter = { burst: 7, periodMs: 60_000 };
    const wait = await a.tryConsume(bucket, shorter, 7);
    assert(wait > 0 && wait <= shorter.periodMs, `${wait}: it is empty, and not more than that`);
  });
}
