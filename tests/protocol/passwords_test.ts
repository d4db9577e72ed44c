import {
  assert,
  assertEquals,
  assertGreaterOrEqual,
  assertMatch,
  assertNotEquals,
  assertRejects,
} from "@std/assert";
import {
  AbandonedError,
  hashWorkerCount,
  MAX_RETRY_AFTER_MS,
  OverloadedError,
  PasswordHasher,
  type Requester,
} from "../../lib/passwords/password_hasher.ts";
import { type HashRequest, HashWorker } from "../../lib/passwords/hash_worker.ts";
import { missingWork } from "../../lib/passwords/work.ts";
import { PLAINTEXT_PREFIX } from "../../lib/store/store.ts";
import {
  hashesEqual,
  issueToken,
  makeDeviceCookie,
  parseDeviceId,
  parseToken,
} from "../../lib/server/sessions/tokens.ts";
import { register } from "../harness/framed_client.ts";
import { withServer } from "../harness/server.ts";

const CHEAP = { ln: 1, r: 1, p: 1 };

Deno.test("passwords: a hash is a salted PHC string, and verifies its password only", async () => {
  using passwords = new PasswordHasher({ ln: 4, r: 8, p: 3 }, 2, 10);
  const [one, two] = await Promise.all([passwords.hash("sesame"), passwords.hash("sesame")]);
  assertMatch(one!, /^\$scrypt\$ln=4,r=8,p=3\$[A-Za-z0-9+/]{22}\$[A-Za-z0-9+/]{43}$/);
  assertNotEquals(one, two);
  assertEquals(await passwords.verify("sesame", one), { valid: true, needsRehash: false });
  assertEquals(await passwords.verify("Sesame", one), { valid: false, needsRehash: false });
});

Deno.test("passwords: verify a hash of another cost, and report it as stale", async () => {
  using before = new PasswordHasher(CHEAP, 1, 1);
  using now = new PasswordHasher({ ln: 2, r: 1, p: 1 }, 1, 1);
  const old = await before.hash("sesame");
  assertEquals(await now.verify("sesame", old), { valid: true, needsRehash: true });
});

Deno.test("passwords: match a test vector of scrypt (RFC 7914, section 12)", async () => {
  // N=1024, r=8, p=16, password "password", salt "NaCl", a key of 64 bytes
  const key =
    "fdbabe1c9d3472007856e7190d01e9fe7c6ad7cbc8237830e77376634b3731622eaf30d92e22a3886ff109279d9830dac727afb94a83ee6d8360cbdfa2cc0640";
  const hash = btoa(String.fromCharCode(...key.match(/../g)!.map((hex) => parseInt(hex, 16)))).replace(
    /=+$/,
    "",
  );
  const phc = `$scrypt$ln=10,r=8,p=16$${btoa("NaCl").replace(/=+$/, "")}$${hash}`;
  using passwords = new PasswordHasher(CHEAP, 1, 1);
  assertEquals((await passwords.verify("password", phc)).valid, true);
});

/** A thread that records its requests. */
class RecordingWorker extends HashWorker {
  readonly orders: { order: HashRequest; began: number; ended: number; isAtOnce: boolean }[] = [];
  #isAtOnce = false; // whether only consequences of the last request's end have happened since
  #timer: ReturnType<typeof setTimeout> | undefined;

  override async derive(order: HashRequest): Promise<Uint8Array> {
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

Deno.test("passwords: do the same work when the user is unknown", async () => {
  const thread = new RecordingWorker();
  using passwords = new PasswordHasher({ ln: 3, r: 2, p: 2 }, 1, 10, () => thread);
  const hash = await passwords.hash("sesame");
  for (const phc of [hash, undefined]) {
    assertEquals((await passwords.verify("wrong", phc)).valid, false);
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

Deno.test("passwords: refuse one with retry_after when the threads and the queue are full", async () => {
  using passwords = new PasswordHasher({ ln: 12, r: 8, p: 1 }, 2, 3);
  const taken = Array.from({ length: 5 }, () => passwords.hash("x")); // 2 in progress and 3 waiting
  const error = await assertRejects(() => passwords.hash("x"), OverloadedError);
  assert(error.retryAfter > 0);
  assertEquals((await Promise.all(taken)).length, 5);
  await passwords.hash("x"); // the queue has room again
});

Deno.test("passwords: bound retry_after however long the queue is", async () => {
  const passwords = new PasswordHasher(CHEAP, 1, 10_000);
  const told: number[] = [];
  const work = Array.from({ length: 10_001 }, () => passwords.hash("x"));
  for (let count = 0; count < 3; count++) {
    told.push((await assertRejects(() => passwords.hash("x"), OverloadedError)).retryAfter);
  }
  assertEquals(told[0], MAX_RETRY_AFTER_MS);
  assert(told.every((ms) => ms > 0 && ms <= MAX_RETRY_AFTER_MS));
  await Promise.all(work);
  passwords[Symbol.dispose]();
});

/** A client at an address, whose signal aborts when it disconnects. */
function at(address: string, signal?: AbortSignal): Requester {
  return { network: address, address, standing: "new", ...(signal ? { signal } : {}) };
}

Deno.test("passwords: skip the work of a closed connection while others wait", async () => {
  let hashed = 0;
  class CountingWorker extends HashWorker {
    override derive(order: HashRequest): Promise<Uint8Array> {
      hashed++;
      return super.derive(order);
    }
  }
  using passwords = new PasswordHasher({ ln: 12, r: 8, p: 1 }, 1, 100, () => new CountingWorker());
  const client = new AbortController();
  const first = passwords.hash("x", at("a", client.signal)); // starts at once
  const gone = Array.from({ length: 50 }, () => passwords.hash("x", at("a", client.signal)));
  const other = passwords.hash("x", at("b"));
  client.abort();
  const results = await Promise.allSettled(gone);
  assert(results.every((result) => result.status === "rejected" && result.reason instanceof AbandonedError));
  assertEquals(passwords.hasQueued, true);
  await Promise.all([first, other]);
  assertEquals([hashed, passwords.hasQueued], [2, false]);
  const alone = passwords.hash("x", at("a", client.signal)); // waits alone during the pause of the thread
  await assertRejects(() => passwords.hash("x", at("a", client.signal)), AbandonedError);
  await alone;
  assertEquals(hashed, 3);
  const last = new AbortController();
  const lone = passwords.hash("x", at("a", last.signal));
  last.abort(); // while it waits
  await lone;
  assertEquals(hashed, 4);
});

Deno.test("passwords: do not queue one address after the flood of another", async () => {
  using passwords = new PasswordHasher({ ln: 10, r: 8, p: 1 }, 1, 1_000);
  let flooded = 0;
  const flood = Array.from({ length: 100 }, () => passwords.hash("x", at("a")).then(() => flooded++));
  const before = await passwords.hash("x", at("b")).then(() => flooded);
  assert(before <= 2, `${before} were hashed first`);
  await Promise.all(flood);
});

Deno.test("passwords: count wrong passwords against an address, and no correct ones", async () => {
  using passwords = new PasswordHasher(CHEAP, 1, 10);
  const hash = await passwords.hash("sesame");
  await passwords.verify("guess", hash, at("b"));
  for (let i = 0; i < 3; i++) await passwords.verify("sesame", hash, at("a"));
  const order: string[] = [];
  const verify = async (address: string) => {
    await passwords.verify("guess", hash, at(address));
    order.push(address);
  };
  await Promise.all(["c", "b", "a"].map(verify));
  assertEquals(order, ["c", "a", "b"]);
});

Deno.test("passwords: do not make a known user wait for the pause of a thread", async () => {
  using passwords = new PasswordHasher({ ln: 13, r: 8, p: 1 }, 1, 10);
  const hash = await passwords.hash("sesame");
  await passwords.verify("guess", hash, at("a"));
  const known = passwords.verify("sesame", hash, { ...at("a"), standing: "known" });
  assertEquals(passwords.hasQueued, false, "the request is in progress");
  await known;
  await passwords.verify("guess", hash, at("a"));
  const next = passwords.verify("sesame", hash, at("b"));
  assertEquals(passwords.hasQueued, true, "a new one waits");
  await next;
});

Deno.test("passwords: do as much work for a wrong password when the hash has a smaller cost", async () => {
  const today = { ln: 14, r: 8, p: 1 };
  let work = 0;
  class MeasuringWorker extends HashWorker {
    override derive(order: HashRequest): Promise<Uint8Array> {
      work += 2 ** order.cost.ln * order.cost.r * order.cost.p;
      return super.derive(order);
    }
  }
  using now = new PasswordHasher(today, 1, 10, () => new MeasuringWorker());
  const worked = async (password: string, phc: string | undefined) => {
    work = 0;
    await now.verify(password, phc);
    return work;
  };
  const unknown = await worked("wrong", undefined);
  assertEquals(unknown, 2 ** 14 * 8);
  for (const cost of [{ ln: 13, r: 8, p: 1 }, { ln: 10, r: 8, p: 3 }, { ln: 14, r: 4, p: 1 }, CHEAP, today]) {
    using before = new PasswordHasher(cost, 1, 1);
    const phc = await before.hash("sesame");
    const known = await worked("wrong", phc);
    assert(known > 0.9 * unknown && known <= unknown, `${known} of ${unknown} for ${JSON.stringify(cost)}`);
    assertEquals(
      await worked("sesame", phc),
      2 ** cost.ln * cost.r * cost.p,
      "a right one is known by itself",
    );
  }
});

Deno.test("passwords: equalise two costs with no more than their difference", () => {
  assertEquals(missingWork({ ln: 14, r: 8, p: 3 }, { ln: 15, r: 8, p: 3 }), [
    { ln: 15, r: 8, p: 1 },
    { ln: 14, r: 8, p: 1 },
  ]);
  assertEquals(missingWork({ ln: 15, r: 8, p: 3 }, { ln: 15, r: 8, p: 3 }), []);
  assertEquals(missingWork({ ln: 16, r: 8, p: 3 }, { ln: 15, r: 8, p: 3 }), [], "nothing can be removed");
});

Deno.test("passwords: reject the request of a thread that dies, and replace the thread", async () => {
  const broken = new URL("data:text/javascript,onmessage = () => { throw new Error('out of luck'); };");
  const begun: (URL | undefined)[] = [broken, undefined];
  using passwords = new PasswordHasher(CHEAP, 1, 10, () => new HashWorker(begun.shift()));
  const [first, second] = await Promise.allSettled([passwords.hash("sesame"), passwords.hash("sesame")]);
  assert(first!.status === "rejected" && first!.reason.message.includes("out of luck"));
  assertEquals(second!.status, "fulfilled");
});

/** Milliseconds by which a timer may be early by another clock. */
const TIMER_SLACK_MS = 2;

Deno.test("passwords: pause a thread for the time of its hash, unless the password was correct", async () => {
  const thread = new RecordingWorker();
  using passwords = new PasswordHasher({ ln: 13, r: 8, p: 1 }, 1, 10, () => thread);
  const hash = await passwords.hash("sesame");
  const checks: [password: string, phc: string | undefined][] = [
    ["sesame", hash],
    ["guess", hash],
    ["guess", undefined],
    ["sesame", hash],
    ["sesame", `${PLAINTEXT_PREFIX}sesame`],
    ["guess", `${PLAINTEXT_PREFIX}sesame`],
    ["sesame", hash],
  ];
  const checked = await Promise.all(checks.map((check) => passwords.verify(...check)));
  const rights = checked.map(({ valid }) => valid);
  assertEquals(rights, [true, false, false, true, true, false, true]);
  const orders = thread.orders.slice(1); // after the new hash
  for (const [i, right] of rights.slice(0, -1).entries()) {
    const [{ began, ended }, next] = orders.slice(i, i + 2) as [typeof orders[0], typeof orders[0]];
    assertEquals(next.isAtOnce, right, `behind check ${i}`);
    if (right) continue;
    assertGreaterOrEqual(next.began - ended, ended - began - TIMER_SLACK_MS, `the rest behind check ${i}`);
  }
});

Deno.test({
  name: "passwords: the hash thread has a low priority",
  ignore: Deno.build.os !== "linux", // only Linux has priorities of threads
  async fn() {
    await withServer({}, async (server) => { // this process also has threads of other tests
      await register(server);
      const ps = new Deno.Command("ps", { args: ["-L", "-o", "nice=", "-p", `${server.pid}`] });
      const niceness = new TextDecoder().decode((await ps.output()).stdout).trim().split(/\s+/).map(Number);
      const usual = Math.min(...niceness);
      assertEquals(
        niceness.filter((nice) => nice !== usual),
        new Array<number>(hashWorkerCount(1)).fill(Math.min(usual + 10, 19)),
      );
    });
  },
});

const HOUR_MS = 3_600_000;
const NOW = Date.UTC(2026, 11, 24, 18);

Deno.test("tokens: identify a device by any of its tokens while the password is unchanged", () => {
  const device = makeDeviceCookie(7, "$scrypt$hash");
  const [one, two] = [issueToken(7, NOW, device), issueToken(7, NOW, device)];
  assertNotEquals(one.text, two.text);
  const id = parseDeviceId(one.text, 7, "$scrypt$hash")!;
  assertEquals(id.length, 8);
  assertEquals(parseDeviceId(two.text, 7, "$scrypt$hash"), id);
  assertEquals(makeDeviceCookie(7, "$scrypt$hash", id), device, "the device is still known");
  const anew = issueToken(7, NOW, makeDeviceCookie(7, "$scrypt$other", id));
  assertEquals(parseDeviceId(anew.text, 7, "$scrypt$other"), id);
  for (const [user, password] of [[8, "$scrypt$hash"], [7, "$scrypt$other"]] as const) {
    assertEquals(parseDeviceId(one.text, user, password), undefined);
  }
  assertEquals(parseDeviceId(issueToken(7, NOW).text, 7, "$scrypt$hash"), undefined);
  assertEquals(parseDeviceId("7.short", 7, "$scrypt$hash"), undefined);
  const [user, secret] = one.text.split(".");
  const last = `${user}.${secret!.slice(0, 42)}${secret!.at(-1) === "A" ? "E" : "A"}`;
  assertEquals(parseDeviceId(last, 7, "$scrypt$hash"), id, "the other half is not part of the text");
  const first = `${user}.${secret!.at(0) === "A" ? "E" : "A"}${secret!.slice(1)}`;
  assertEquals(parseDeviceId(first, 7, "$scrypt$hash"), undefined);
});

Deno.test("tokens: are random, verified by their hash only, and distinguished from other texts", () => {
  const { text: token, hash } = issueToken(7, NOW);
  assertEquals(parseToken(token, NOW)!.user, 7);
  assert(hashesEqual(parseToken(token, NOW)!.hash, hash));
  assert(!hashesEqual(parseToken(issueToken(7, NOW).text, NOW)!.hash, hash));
  for (const bad of ["", "7", "7.", "0.x", token + "x", token.slice(0, -1), `x${token}`]) {
    assertEquals(parseToken(bad, NOW), undefined, bad);
  }
  // the hash differs from the one stored for user 8
  assertEquals(parseToken(token.replace("7.", "8."), NOW)!.user, 8);
});

Deno.test("tokens: carry the hour of their creation, which their hash protects", () => {
  for (
    const [made, told] of [[NOW, NOW], [NOW + 1, NOW + HOUR_MS], [NOW + HOUR_MS, NOW + HOUR_MS]] as const
  ) {
    const { text } = issueToken(7, made);
    assertEquals(parseToken(text, made)!.issuedAt, told);
    assertEquals(parseToken(text, told + 10 * 365 * 24 * HOUR_MS)!.issuedAt, told);
  }
  const { text, hash } = issueToken(7, NOW);
  assertEquals(parseToken(text, NOW - 2 * HOUR_MS)!.issuedAt, NOW, "by a node whose clock is ahead");
  assertEquals(parseToken(text, NOW - 2 * HOUR_MS - 1)!.issuedAt, undefined, "retry_after is in the future");
  const younger = issueToken(7, NOW + 24 * HOUR_MS).text;
  const forged = text.slice(0, -4) + younger.slice(-4);
  assertEquals(parseToken(forged, NOW + 24 * HOUR_MS)!.issuedAt, NOW + 24 * HOUR_MS);
  assert(!hashesEqual(parseToken(forged, NOW)!.hash, hash));
  // possible tokens of an earlier version
  for (const bytes of [new Uint8Array(32), new Uint8Array(32).fill(255)]) {
    const old = `7.${bytes.toBase64({ alphabet: "base64url", omitPadding: true })}`;
    assertEquals(parseToken(old, NOW)!.issuedAt, undefined);
  }
});
