/** How much a client may ask for: exactly what is configured, at once and over time. */
import { assert, assertEquals } from "@std/assert";
import { defaults } from "../lib/config/config.ts";
import { Allowance, Bucket, Buckets } from "../lib/server/allowance.ts";

const config = {
  ...defaults(),
  messageRate: 10,
  messageBurst: 20,
  byteRate: 1_000,
  byteBurst: 4_000,
  spareRate: 100,
  strangerRate: 5,
  maxFrame: 2_000,
};

/** How many requests of this cost are taken before the first that isn't. */
function taken(allowance: Allowance, cost: number, now: number): number {
  let count = 0;
  while (allowance.take(cost, now) === 0) count++;
  return count;
}

Deno.test("a bucket gives its burst at once, then so many a second, and says exactly when there is more", () => {
  const bucket = new Bucket({ perSecond: 10, burst: 20 });
  for (let at = 0; at < 20; at++) assertEquals(bucket.take(1, 0), 0, `${at}`);
  assertEquals(bucket.take(1, 0), 100);
  assertEquals(bucket.take(1, 99), 1, "a refusal takes nothing");
  assertEquals(bucket.take(1, 100), 0);
  assertEquals(bucket.take(1, 100), 100);
  assertEquals(bucket.take(20, 2_099), 1);
  assertEquals(bucket.take(20, 2_100), 0, "full again");
  assertEquals(bucket.take(20, 100_000), 0);
  assertEquals(bucket.take(1, 100_000), 100, "it never holds more than the burst");
});

Deno.test("a bucket that is overdrawn holds nothing until that is made up for", () => {
  const bucket = new Bucket({ perSecond: 10, burst: 20 });
  bucket.draw(50);
  assertEquals(bucket.lacks(0, 0), 3_000);
  assertEquals(bucket.take(1, 3_000), 100);
  assertEquals(bucket.take(1, 3_100), 0);
});

Deno.test("a session has its own, and then what is spare, which it shares with the others", () => {
  const spare = Buckets.spareForSessions(config)!;
  const [alice, bob] = [1, 2].map(() => new Allowance(Buckets.ofSession(config)!, spare));
  assertEquals(taken(alice!, 1, 0), 20 + 20, "a fifth of a second's worth at once");
  assertEquals(taken(bob!, 1, 0), 20, "a greedy one leaves the others what is theirs");
  assertEquals(alice!.take(1, 0), 100, "that is when it has its own again");
  assertEquals(taken(bob!, 5, 1_000), 2 + 4);
});

Deno.test("a session without a spare bucket has its own and no more", () => {
  assertEquals(Buckets.spareForSessions({ ...config, spareRate: 0 }), undefined);
  const allowance = new Allowance(Buckets.ofSession(config)!);
  assertEquals(taken(allowance, 1, 0), 20);
  assertEquals(allowance.take(1, 0), 100);
  assertEquals(allowance.take(1, 100), 0);
});

Deno.test("bytes: beyond the burst, requests are refused until they are made up for", () => {
  const allowance = new Allowance(Buckets.ofSession(config)!);
  assertEquals(allowance.heard(4_000, 0), 0);
  assertEquals(allowance.take(1, 0), 0, "all of the burst");
  assertEquals(allowance.heard(500, 0), 500, "one more byte would have been one too many");
  assertEquals(allowance.take(1, 0), 500);
  assertEquals(allowance.take(1, 499), 1);
  assertEquals(allowance.take(1, 500), 0);
  assertEquals(allowance.heard(1_000, 1_500), 0, "and then so many a second");
});

Deno.test("bytes: what is spare helps as well", () => {
  const allowance = new Allowance(Buckets.ofSession(config)!, Buckets.spareForSessions(config)!);
  assertEquals(allowance.heard(2_500, 0), 0);
  assertEquals(allowance.heard(2_500, 0), 0, "the spare bucket has them");
  assertEquals(allowance.heard(1_500, 0), 0, "what its own had left");
  assertEquals(allowance.heard(20 * 1_024 - 2_500, 0), 0);
  assert(allowance.heard(1, 0) > 0);
  const large = new Allowance(Buckets.ofSession(config)!, Buckets.spareForSessions(config)!);
  assertEquals(large.heard(20_000, 0), 0, "also more at once than its own ever has");
  assertEquals(large.take(1, 0), 0);
});

Deno.test("what is overdrawn is waited for", () => {
  const allowance = new Allowance(Buckets.ofStranger(config)!);
  assertEquals(taken(allowance, 1, 0), 10, "two seconds' worth");
  allowance.overdraw(1);
  assertEquals(allowance.take(1, 0), 400, "the one that was drawn, and this one");
});

Deno.test("strangers have a fifth of what sessions have to share", () => {
  const spare = Buckets.spareForStrangers(config)!;
  const [one, other] = [1, 2].map(() => new Allowance(Buckets.ofStranger(config)!, spare));
  assertEquals(taken(one!, 1, 0), 10 + 4);
  assertEquals(taken(other!, 1, 0), 10);
});

Deno.test("refusals are free of delay as many as may be on their way, and not for ever", () => {
  const allowance = new Allowance(Buckets.ofSession(config)!);
  for (let at = 0; at < 32; at++) assertEquals(allowance.refused(0), 0);
  assertEquals(allowance.refused(0), 200);
  assertEquals(allowance.refused(0), 400, "each of a flood waits longer");
  assertEquals(allowance.refused(600), 0);
  allowance.heard(4_000, 600);
  allowance.heard(1_000, 600);
  assertEquals(allowance.refused(60_000), 0);
  for (let at = 0; at < 3; at++) allowance.heard(4_000, 60_000);
  assertEquals(allowance.refused(60_000), 8_000, "large ones are not read faster than they may be sent");
});

Deno.test("two of the largest messages are taken whatever is configured", () => {
  const allowance = new Allowance(Buckets.ofSession({ ...config, byteBurst: 1_024 })!);
  assertEquals(allowance.heard(4_000, 0), 0);
  assertEquals(allowance.heard(1, 0), 1);
});

Deno.test("answers count as questions do, and so does what a request costs beyond what was known", () => {
  const allowance = new Allowance(Buckets.ofSession(config)!);
  allowance.answered(4_000, 0);
  allowance.answered(500, 0);
  assertEquals(allowance.take(1, 0), 500);
  const other = new Allowance(Buckets.ofSession(config)!);
  other.charge(18, 0);
  assertEquals(taken(other, 1, 0), 2);
  other.charge(10, 0);
  assertEquals(other.take(1, 0), 1_100, "those ten, and this one");
});

Deno.test("no limits where none are configured", () => {
  assertEquals(Buckets.ofSession({ ...config, messageRate: 0 }), undefined);
  assertEquals(Buckets.ofStranger({ ...config, strangerRate: 0 }), undefined);
});
