/** The login throttle by itself: the counted attempts, and their refill. */
import { assertEquals, assertRejects } from "@std/assert";
import { KeyedRateLimiter } from "../../lib/bus/gcra.ts";
import type { RateLimit } from "../../lib/bus/bus.ts";
import { LocalHub } from "../../lib/bus/local.ts";
import { AbandonedError } from "../../lib/passwords/password_hasher.ts";
import { RequestError } from "../../lib/server/protocol/reply_body.ts";
import { LoginThrottle } from "../../lib/server/limits/login_throttle.ts";
import { MAX_RETRY_AFTER_MS } from "./login_throttle_fixture.ts";
import { Errno } from "../harness/protocol_numbers.ts";

Deno.test("login throttle: counts refused logins, and not those that fail by a server fault", async () => {
  const bus = new LocalHub().attach();
  const limits = {
    maxFailedLogins: 1,
    maxLoginsPerAddress: 1,
    maxRegistrationsPerAddress: 1,
    attemptsWindow: 3_600_000,
  };
  const attempts = new LoginThrottle(bus, limits);
  const place = { address: "192.0.2.1", knownBy: undefined };
  const known = { address: "192.0.2.1", knownBy: "address 192.0.2.1" };
  const ways = [
    (work: () => Promise<{ valid: boolean }>) => attempts.check(1, place, work),
    (work: () => Promise<{ valid: boolean }>) => attempts.check(1, known, work),
    (work: () => Promise<{ valid: boolean }>) => attempts.check("unknown", place, work),
    (work: () => Promise<{ valid: boolean }>) => attempts.login("192.0.2.1", work),
    (work: () => Promise<{ valid: boolean }>) => attempts.register("192.0.2.1", work),
  ];
  for (const way of ways) {
    for (let count = 0; count < 3; count++) {
      await assertRejects(
        () => way(() => Promise.reject(new Error("the store is unavailable"))),
        Error,
        "the store",
      );
    }
    await assertRejects(
      () => way(() => Promise.reject(new RequestError(Errno.FAILED, "wrong"))),
      Error,
      "wrong",
    );
    let isTried = false;
    const late = await assertRejects(() =>
      way(() => {
        isTried = true;
        return Promise.resolve({ valid: true });
      }), RequestError);
    assertEquals([isTried, late.errno, late.retryAfter], [false, Errno.RATE_LIMITED, MAX_RETRY_AFTER_MS]);
  }
  for (let count = 0; count < 3; count++) await attempts.login(undefined, () => Promise.resolve()); // exempt
  // An aborted attempt is no wrong password, but is charged to its address.
  const leave = () => Promise.reject(new AbandonedError(1));
  for (let count = 0; count < 3; count++) {
    await assertRejects(() => attempts.check(2, place, leave), AbandonedError);
  }
  for (const way of [attempts.login.bind(attempts), attempts.register.bind(attempts)]) {
    await assertRejects(() => way("192.0.2.2", leave), AbandonedError);
    await assertRejects(() => way("192.0.2.2", leave), RequestError);
  }
  await bus.close();
});

/** A throttle with a clock that the test sets. */
function attemptsAt(clock: () => number, maxFailedLogins: number): LoginThrottle {
  const buckets = new KeyedRateLimiter(clock);
  const spend = (bucket: string, quota: RateLimit, count: number) =>
    Promise.resolve(buckets.tryConsume(bucket, quota, count));
  const [maxLoginsPerAddress, maxRegistrationsPerAddress, attemptsWindow] = [1, 1, WINDOW_MS];
  return new LoginThrottle({ tryConsume: spend }, {
    maxFailedLogins,
    maxLoginsPerAddress,
    maxRegistrationsPerAddress,
    attemptsWindow,
  });
}

const WINDOW_MS = 3_600_000; // milliseconds

/** Returns an unknown address. */
function unknown(at: number): { address: string; knownBy: undefined } {
  return { address: `192.0.2.${at}`, knownBy: undefined };
}

const wrong = () => Promise.resolve({ valid: false });
const right = () => Promise.resolve({ valid: true });

Deno.test("login throttle: charges correct passwords nothing of the shared bucket", async () => {
  const attempts = attemptsAt(() => 0, 2);
  for (let at = 0; at < 100; at++) await attempts.check(1, unknown(at), right);
  for (let count = 0; count < 2; count++) await attempts.check(1, unknown(200), wrong);
  await assertRejects(() => attempts.check(1, unknown(200), right), RequestError);
});

Deno.test("login throttle: refills the shared bucket, and charges refusals nothing", async () => {
  let now = 0;
  const attempts = attemptsAt(() => now, 2);
  for (let at = 0; at < 20; at++) await attempts.check(1, unknown(at), wrong); // ten times as many
  const last = unknown(200);
  await attempts.check(1, last, wrong);
  const back = 6 * WINDOW_MS / 20; // until there is one attempt, as all of them return in six times this
  for (now = 0; now < back; now += 1_000) {
    await assertRejects(() => attempts.check(1, last, right), RequestError, "too many wrong");
  }
  now = back - 1;
  await assertRejects(() => attempts.check(1, last, right), RequestError, "too many wrong");
  now = back;
  await attempts.check(1, last, wrong);
  await assertRejects(() => attempts.check(1, last, right), RequestError, "too many wrong");
});
