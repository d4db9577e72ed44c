/** Token buckets in a process, by a clock of the test. */
import { assert, assertEquals } from "@std/assert";
import { KeyedRateLimiter } from "../../lib/bus/gcra.ts";

/** Returns buckets with a clock that the test advances. */
function make(most?: number): { buckets: KeyedRateLimiter; pass: (ms: number) => void } {
  let now = 12_345.678; // as `performance.now` returns it
  return { buckets: new KeyedRateLimiter(() => now, most), pass: (ms) => void (now += ms) };
}

Deno.test("keyed rate limiter: a token is available at the returned time, and not before", () => {
  for (
    const [burst, periodMs] of [[1, 1_000], [3, 1_000], [7, 60_000], [10, 600_000], [300, 600_000]] as const
  ) {
    const { buckets, pass } = make();
    const quota = { burst, periodMs };
    for (let count = 0; count < burst; count++) assertEquals(buckets.tryConsume("b", quota, 1), 0);
    for (let round = 0; round < 3; round++) {
      const wait = buckets.tryConsume("b", quota, 1);
      assert(wait > 0 && wait <= Math.ceil(periodMs / burst), `${wait} ms for 1 of ${burst}`);
      pass(wait - 1);
      assertEquals(buckets.tryConsume("b", quota, 1), 1);
      pass(1);
      assertEquals(buckets.tryConsume("b", quota, 1), 0);
    }
  }
});

Deno.test("keyed rate limiter: an empty bucket is full after its period, and never exceeds the burst", () => {
  const { buckets, pass } = make();
  const quota = { burst: 5, periodMs: 1_000 };
  for (let round = 0; round < 3; round++) {
    assertEquals(buckets.tryConsume("b", quota, 5), 0);
    assertEquals(buckets.tryConsume("b", quota, 5), 1_000);
    pass(999);
    assertEquals(buckets.tryConsume("b", quota, 5), 1);
    pass(round === 2 ? 1_000_000 : 1);
  }
  assertEquals([buckets.tryConsume("b", quota, 5), buckets.tryConsume("b", quota, 1)], [0, 200]);
});

Deno.test("keyed rate limiter: take no more than the rate allows over a long time", () => {
  const { buckets, pass } = make();
  const quota = { burst: 7, periodMs: 1_000 };
  let taken = 0;
  for (let ms = 0; ms < 100_000; ms++) {
    if (buckets.tryConsume("b", quota, 1) === 0) taken++;
    pass(1);
  }
  assert(taken >= 7 * 100 && taken <= 7 * 101, `${taken} in a hundred times its time`);
});

Deno.test("keyed rate limiter: evict the fullest, so that no client can evict an empty one", () => {
  const { buckets, pass } = make(1_000);
  const quota = { burst: 10, periodMs: 600_000 };
  assertEquals(buckets.tryConsume("victim", quota, 10), 0);
  assertEquals(buckets.tryConsume("old", quota, 1), 0);
  pass(60_000);
  assertEquals(buckets.tryConsume("victim", quota, 1), 0); // refilled meanwhile
  for (let name = 0; name < 20_000; name++) assertEquals(buckets.tryConsume(`flood ${name}`, quota, 1), 0);
  assert(buckets.size <= 1_000, `${buckets.size} are remembered`);
  assert(buckets.tryConsume("victim", quota, 1) > 0, "it is still empty");
});

Deno.test("keyed rate limiter: evict full ones first, and store no refunded ones", () => {
  const { buckets, pass } = make(100);
  const quota = { burst: 2, periodMs: 1_000 };
  for (let name = 0; name < 100; name++) buckets.tryConsume(`old ${name}`, quota, 2);
  pass(1_000);
  for (let name = 0; name < 60; name++) buckets.tryConsume(`new ${name}`, quota, 1);
  assertEquals(buckets.size, 60);
  for (let name = 0; name < 60; name++) {
    assert(buckets.tryConsume(`new ${name}`, quota, 2) > 0, `${name} was not forgotten`);
    buckets.tryConsume(`new ${name}`, quota, -1);
  }
  assertEquals(buckets.size, 0);
});
