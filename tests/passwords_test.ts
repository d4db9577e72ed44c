import { assert, assertEquals, assertLess, assertMatch, assertNotEquals, assertRejects } from "@std/assert";
import { Passwords, TooBusy } from "../lib/passwords/passwords.ts";
import { HashThread } from "../lib/passwords/thread.ts";
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

Deno.test("passwords: without a user the same work is done", async () => {
  using passwords = new Passwords({ ln: 14, r: 8, p: 1 }, 1, 10);
  const hash = await passwords.hash("sesame");
  const time = async (phc: string | undefined) => {
    let least = Infinity; // of several: other work on the machine only ever adds
    for (let i = 0; i < 5; i++) {
      const began = performance.now();
      assertEquals((await passwords.verify("wrong", phc)).right, false);
      least = Math.min(least, performance.now() - began);
    }
    return least;
  };
  const [known, unknown] = [await time(hash), await time(undefined)];
  assert(unknown > known / 4 && unknown < known * 4, `${known} ms with a user, ${unknown} ms without`);
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

Deno.test("passwords: a thread rests as long as a hash took, unless the password was right", async () => {
  using passwords = new Passwords({ ln: 13, r: 8, p: 1 }, 1, 10);
  const hash = await passwords.hash("sesame");
  const time = async (count: number, password: string, phc?: string) => {
    const began = performance.now();
    for (let check = 0; check < count; check++) await passwords.verify(password, phc);
    return performance.now() - began;
  };
  let alone = Infinity;
  for (let check = 0; check < 3; check++) {
    await new Promise((resolve) => setTimeout(resolve, 150)); // it has rested
    alone = Math.min(alone, await time(1, "sesame", hash));
  }
  let right = Infinity; // the least of several, as other work on the machine only ever adds
  for (let round = 0; round < 3; round++) right = Math.min(right, await time(8, "sesame", hash));
  const rested = Math.min(await time(8, "guess", hash), await time(8, "guess"));
  assertLess(8 * alone * 1.5, rested); // twice as long each, but for the first
  assertLess(right * 1.3, rested);
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
    assertEquals(niceness.filter((nice) => nice !== usual), [usual + 10]);
  },
});

Deno.test("tokens: random, told apart from nonsense, and only their hash is needed", () => {
  const { text: token, hash } = makeToken(7);
  assertEquals(readToken(token)!.user, 7);
  assert(sameHash(readToken(token)!.hash, hash));
  assert(!sameHash(readToken(makeToken(7).text)!.hash, hash));
  for (const bad of ["", "7", "7.", "0.x", token + "x", token.slice(0, -1), `x${token}`]) {
    assertEquals(readToken(bad), undefined, bad);
  }
  assertEquals(readToken(token.replace("7.", "8."))!.user, 8); // the hash won't be the one kept for 8
});
