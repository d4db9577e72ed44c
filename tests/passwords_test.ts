import {
  assert,
  assertEquals,
  assertGreaterOrEqual,
  assertMatch,
  assertNotEquals,
  assertRejects,
} from "@std/assert";
import { Passwords, TooBusy } from "../lib/passwords/passwords.ts";
import { type HashOrder, HashThread } from "../lib/passwords/thread.ts";
import { PLAIN } from "../lib/store/store.ts";
import { makeToken, readToken, sameHash } from "../lib/server/tokens.ts";

const CHEAP = { ln: 1, r: 1, p: 1 };

Deno.test("passwords: a hash is a PHC string with its parameters, salted, and checks its password only", async () => {
  using passwords = new Passwords({ ln: 4, r: 8, p: 3 }, 2, 10);
  const [one, two] = await Promise.all([passwords.hash("sesame"), passwords.hash("sesame")]);
  assertMatch(one!, /^\$scrypt\$ln=4,r=8,p=3\$[A-Za-z0-9+/]{22}\$[A-Za-z0-9+/]{43}$/);
  assertNotEquals(one, two);
  assertEquals(await passwords.verify("sesame", one), { right: true, stale: false });
  assertEquals(await passwords.verify("Sesame", one), { right: false, stale: false });
});

Deno.test("passwords: a hash of another cost still checks, and is known to be stale", async () => {
  using before = new Passwords(CHEAP, 1, 1);
  using now = new Passwords({ ln: 2, r: 1, p: 1 }, 1, 1);
  const old = await before.hash("sesame");
  assertEquals(await now.verify("sesame", old), { right: true, stale: true });
});

Deno.test("passwords: a known vector of scrypt (RFC 7914, section 12)", async () => {
  // N=1024, r=8, p=16, password "password", salt "NaCl", a key of 64 bytes
  const key =
    "fdbabe1c9d3472007856e7190d01e9fe7c6ad7cbc8237830e77376634b3731622eaf30d92e22a3886ff109279d9830dac727afb94a83ee6d8360cbdfa2cc0640";
  const hash = btoa(String.fromCharCode(...key.match(/../g)!.map((hex) => parseInt(hex, 16)))).replace(
    /=+$/,
    "",
  );
  const phc = `$scrypt$ln=10,r=8,p=16$${btoa("NaCl").replace(/=+$/, "")}$${hash}`;
  using passwords = new Passwords(CHEAP, 1, 1);
  assertEquals((await passwords.verify("password", phc)).right, true);
});

/** A thread that keeps a record of its orders. */
class RecordingThread extends HashThread {
  readonly orders: { order: HashOrder; began: number; ended: number; isAtOnce: boolean }[] = [];
  #isAtOnce = false; // nothing but what follows from the last order's end has happened since
  #timer: ReturnType<typeof setTimeout> | undefined;

  override async derive(order: HashOrder): Promise<Uint8Array> {
    const entry = { order, began: performance.now(), ended: Infinity, isAtOnce: this.#isAtOnce };
    this.orders.push(entry);
    const key = await super.derive(order);
    entry.ended = performance.now();
    this.#isAtOnce = true;
    clearTimeout(this.#timer);
    this.#timer = setTimeout(() => this.#isAtOnce = false);
    return key;
  }

  override close(): void {
    clearTimeout(this.#timer);
    super.close();
  }
}

Deno.test("passwords: without a user the same work is done", async () => {
  const thread = new RecordingThread();
  using passwords = new Passwords({ ln: 3, r: 2, p: 2 }, 1, 10, () => thread);
  const hash = await passwords.hash("sesame");
  for (const phc of [hash, undefined]) {
    assertEquals((await passwords.verify("wrong", phc)).right, false);
  }
  const [, known, unknown] = thread.orders.map(({ order: { password, salt, length, cost } }) => ({
    password,
    salt: salt.length,
    length,
    cost,
  }));
  assertEquals(known, { password: "wrong", salt: 16, length: 32, cost: { ln: 3, r: 2, p: 2 } });
  assertEquals(unknown, known);
});

Deno.test("passwords: so many at once, so many waiting, and the next is told when to come again", async () => {
  using passwords = new Passwords({ ln: 12, r: 8, p: 1 }, 2, 3);
  const taken = Array.from({ length: 5 }, () => passwords.hash("x")); // 2 at work and 3 waiting
  const error = await assertRejects(() => passwords.hash("x"), TooBusy);
  assert(error.retryAfter > 0);
  assertEquals((await Promise.all(taken)).length, 5);
  await passwords.hash("x"); // there is room again
});

Deno.test("passwords: a thread that dies fails its own order, and another takes its place", async () => {
  const broken = new URL("data:text/javascript,onmessage = () => { throw new Error('out of luck'); };");
  const begun: (URL | undefined)[] = [broken, undefined];
  using passwords = new Passwords(CHEAP, 1, 10, () => new HashThread(begun.shift()));
  const [first, second] = await Promise.allSettled([passwords.hash("sesame"), passwords.hash("sesame")]);
  assert(first!.status === "rejected" && first!.reason.message.includes("out of luck"));
  assertEquals(second!.status, "fulfilled");
});

/** Milliseconds by which a timer may be early, by a clock that isn't its own. */
const TIMER_SLACK = 2;

Deno.test("passwords: a thread rests as long as a hash took, unless the password was right", async () => {
  const thread = new RecordingThread();
  using passwords = new Passwords({ ln: 13, r: 8, p: 1 }, 1, 10, () => thread);
  const hash = await passwords.hash("sesame");
  const checks: [password: string, phc: string | undefined][] = [
    ["sesame", hash],
    ["guess", hash],
    ["guess", undefined],
    ["sesame", hash],
    ["sesame", `${PLAIN}sesame`],
    ["guess", `${PLAIN}sesame`],
    ["sesame", hash],
  ];
  const checked = await Promise.all(checks.map((check) => passwords.verify(...check)));
  const rights = checked.map(({ right }) => right);
  assertEquals(rights, [true, false, false, true, true, false, true]);
  const orders = thread.orders.slice(1); // behind the new hash
  for (const [i, right] of rights.slice(0, -1).entries()) {
    const [{ began, ended }, next] = orders.slice(i, i + 2) as [typeof orders[0], typeof orders[0]];
    assertEquals(next.isAtOnce, right, `behind check ${i}`);
    if (right) continue;
    assertGreaterOrEqual(next.began - ended, ended - began - TIMER_SLACK, `the rest behind check ${i}`);
  }
});

Deno.test({
  name: "passwords: the thread that hashes lets all others go first",
  ignore: Deno.build.os !== "linux", // elsewhere a thread has no priority of its own
  async fn() {
    using passwords = new Passwords(CHEAP, 1, 1);
    await passwords.hash("sesame");
    const ps = new Deno.Command("ps", { args: ["-L", "-o", "nice=", "-p", `${Deno.pid}`] });
    const niceness = new TextDecoder().decode((await ps.output()).stdout).trim().split(/\s+/).map(Number);
    const usual = Math.min(...niceness);
    assertEquals(niceness.filter((nice) => nice !== usual), [Math.min(usual + 10, 19)]);
  },
});

const HOUR_MS = 3_600_000;
const NOW = Date.UTC(2026, 11, 24, 18);

Deno.test("tokens: random, told apart from nonsense, and only their hash is needed", () => {
  const { text: token, hash } = makeToken(7, NOW);
  assertEquals(readToken(token, NOW)!.user, 7);
  assert(sameHash(readToken(token, NOW)!.hash, hash));
  assert(!sameHash(readToken(makeToken(7, NOW).text, NOW)!.hash, hash));
  for (const bad of ["", "7", "7.", "0.x", token + "x", token.slice(0, -1), `x${token}`]) {
    assertEquals(readToken(bad, NOW), undefined, bad);
  }
  assertEquals(readToken(token.replace("7.", "8."), NOW)!.user, 8); // the hash won't be the one kept for 8
});

Deno.test("tokens: they tell when they were made, in full hours, and not without another hash", () => {
  for (
    const [made, told] of [[NOW, NOW], [NOW + 1, NOW + HOUR_MS], [NOW + HOUR_MS, NOW + HOUR_MS]] as const
  ) {
    const { text } = makeToken(7, made);
    assertEquals(readToken(text, made)!.madeAt, told);
    assertEquals(readToken(text, told + 10 * 365 * 24 * HOUR_MS)!.madeAt, told);
  }
  const { text, hash } = makeToken(7, NOW);
  assertEquals(readToken(text, NOW - 2 * HOUR_MS)!.madeAt, NOW, "by a node whose clock is ahead");
  assertEquals(readToken(text, NOW - 2 * HOUR_MS - 1)!.madeAt, undefined, "it says a time to come");
  const younger = makeToken(7, NOW + 24 * HOUR_MS).text;
  const forged = text.slice(0, -4) + younger.slice(-4);
  assertEquals(readToken(forged, NOW + 24 * HOUR_MS)!.madeAt, NOW + 24 * HOUR_MS);
  assert(!sameHash(readToken(forged, NOW)!.hash, hash));
  for (const bytes of [new Uint8Array(32), new Uint8Array(32).fill(255)]) { // as an earlier version may have made them
    const old = `7.${bytes.toBase64({ alphabet: "base64url", omitPadding: true })}`;
    assertEquals(readToken(old, NOW)!.madeAt, undefined);
  }
});
