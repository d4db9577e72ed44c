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
  hashConcurrency,
  MAX_RETRY_AFTER_MS,
  OverloadedError,
  PasswordHasher,
  type Requester,
} from "../../lib/passwords/password_hasher.ts";
import {
  type Argon2idCost,
  type Cost,
  deriveKey,
  formatHash,
  type KeyRequest,
  workOf,
} from "../../lib/passwords/stored_hash.ts";
import { PLAINTEXT_PREFIX } from "../../lib/store/store.ts";

/** Returns a cost of Argon2id. One pass over 4 MiB takes some milliseconds. */
function argon2id(memory: number, passes = 1): Argon2idCost {
  return { method: "argon2id", memory, passes, lanes: 1 };
}

const CHEAP = argon2id(8);
const SLOW = argon2id(4_096, 4);

Deno.test("passwords: a hash is a salted PHC string, and verifies its password only", async () => {
  using passwords = new PasswordHasher(argon2id(64, 3), 2, 10);
  const [one, two] = await Promise.all([passwords.hash("sesame"), passwords.hash("sesame")]);
  assertMatch(one!, /^\$argon2id\$v=19\$m=64,t=3,p=1\$[A-Za-z0-9+/]{22}\$[A-Za-z0-9+/]{43}$/);
  assertNotEquals(one, two);
  assertEquals(await passwords.verify("sesame", one), { valid: true, needsRehash: false });
  assertEquals(await passwords.verify("Sesame", one), { valid: false, needsRehash: false });
});

/** Returns the hash of a password by scrypt, as earlier releases stored it. */
async function hashByScrypt(password: string, ln: number, r = 8, p = 1): Promise<string> {
  const salt = crypto.getRandomValues(new Uint8Array(16));
  const key = await deriveKey({ password, salt, length: 32, cost: { method: "scrypt", ln, r, p } });
  const [, , , , ...parts] = formatHash(CHEAP, salt, key).split("$");
  return [`$scrypt$ln=${ln},r=${r},p=${p}`, ...parts].join("$");
}

Deno.test("passwords: verify a hash of another cost or method, and report it as stale", async () => {
  using now = new PasswordHasher(argon2id(16), 1, 10);
  for (const cost of [argon2id(8), argon2id(16, 2), argon2id(160)]) {
    using before = new PasswordHasher(cost, 1, 1);
    const old = await before.hash("sesame");
    assertEquals(await now.verify("sesame", old), { valid: true, needsRehash: true });
    assertEquals((await now.verify("Sesame", old)).valid, false);
  }
  const old = await hashByScrypt("sesame", 4);
  assertEquals(await now.verify("sesame", old), { valid: true, needsRehash: true });
  assertEquals((await now.verify("Sesame", old)).valid, false);
});

/** Derives keys and records the requests. */
class Recorder {
  readonly orders: { order: KeyRequest; began: number; ended: number; isAtOnce: boolean }[] = [];
  #isAtOnce = false; // whether only consequences of the last request's end have happened since
  #timer: ReturnType<typeof setTimeout> | undefined;

  readonly derive = async (order: KeyRequest): Promise<Uint8Array> => {
    const entry = { order, began: performance.now(), ended: Infinity, isAtOnce: this.#isAtOnce };
    this.orders.push(entry);
    const key = await deriveKey(order);
    entry.ended = performance.now();
    this.#isAtOnce = true;
    clearTimeout(this.#timer);
    this.#timer = setTimeout(() => this.#isAtOnce = false);
    return key;
  };

  /** Returns the costs of the requests since the last call. */
  takeCosts(): Cost[] {
    return this.orders.splice(0).map(({ order: { cost } }) => cost);
  }

  [Symbol.dispose](): void {
    clearTimeout(this.#timer);
  }
}

Deno.test("passwords: do the same work when the user is unknown", async () => {
  using recorder = new Recorder();
  const cost = argon2id(64, 3);
  using passwords = new PasswordHasher(cost, 1, 10, recorder.derive);
  const hash = await passwords.hash("sesame");
  for (const phc of [hash, undefined]) {
    assertEquals((await passwords.verify("wrong", phc)).valid, false);
  }
  const [, known, unknown, ...others] = recorder.orders.map((
    { order: { password, salt, length, cost } },
  ) => ({
    ...{ password, salt: salt.length, length, cost },
  }));
  assertEquals(known, { password: "wrong", salt: 16, length: 32, cost });
  assertEquals([unknown, others], [known, []]);
});

Deno.test("passwords: refuse one with retry_after when all places and the queue are taken", async () => {
  using passwords = new PasswordHasher(SLOW, 2, 3);
  const taken = Array.from({ length: 5 }, () => passwords.hash("x")); // 2 in progress and 3 waiting
  const error = await assertRejects(() => passwords.hash("x"), OverloadedError);
  assert(error.retryAfter > 0);
  assertEquals((await Promise.all(taken)).length, 5);
  await passwords.hash("x"); // the queue has room again
});

Deno.test("passwords: bound retry_after however long the queue is", async () => {
  const begin = Promise.withResolvers<void>();
  using passwords = new PasswordHasher(CHEAP, 1, 10_000, async (request) => {
    await begin.promise;
    return await deriveKey(request);
  });
  const told: number[] = [];
  const work = Array.from({ length: 10_001 }, () => passwords.hash("x"));
  for (let count = 0; count < 3; count++) {
    told.push((await assertRejects(() => passwords.hash("x"), OverloadedError)).retryAfter);
  }
  assertEquals(told[0], MAX_RETRY_AFTER_MS);
  assert(told.every((ms) => ms > 0 && ms <= MAX_RETRY_AFTER_MS));
  begin.resolve();
  await Promise.all(work);
});

/** A client at an address, whose signal aborts when it disconnects. */
function at(address: string, signal?: AbortSignal): Requester {
  return { network: address, address, standing: "new", ...(signal ? { signal } : {}) };
}

Deno.test("passwords: skip the work of a closed connection while others wait", async () => {
  using recorder = new Recorder();
  using passwords = new PasswordHasher(SLOW, 1, 100, recorder.derive);
  const client = new AbortController();
  const first = passwords.hash("x", at("a", client.signal)); // starts at once
  const gone = Array.from({ length: 50 }, () => passwords.hash("x", at("a", client.signal)));
  const other = passwords.hash("x", at("b"));
  client.abort();
  const results = await Promise.allSettled(gone);
  assert(results.every((result) => result.status === "rejected" && result.reason instanceof AbandonedError));
  assertEquals(passwords.hasQueued, true);
  await Promise.all([first, other]);
  assertEquals([recorder.orders.length, passwords.hasQueued], [2, false]);
  const alone = passwords.hash("x", at("a", client.signal)); // waits alone during the pause
  await assertRejects(() => passwords.hash("x", at("a", client.signal)), AbandonedError);
  await alone;
  assertEquals(recorder.orders.length, 3);
  const last = new AbortController();
  const lone = passwords.hash("x", at("a", last.signal));
  last.abort(); // while it waits
  await lone;
  assertEquals(recorder.orders.length, 4);
});

Deno.test("passwords: do not queue one address after the flood of another", async () => {
  using passwords = new PasswordHasher(argon2id(1_024), 1, 1_000);
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

Deno.test("passwords: do not make a known user wait for a pause", async () => {
  using passwords = new PasswordHasher(SLOW, 1, 10);
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
  const today = argon2id(1_024, 3);
  using recorder = new Recorder();
  using now = new PasswordHasher(today, 1, 10, recorder.derive);
  const worked = async (password: string, phc: string | undefined) => {
    await now.verify(password, phc);
    return recorder.takeCosts().map(workOf).reduce((sum, work) => sum + work);
  };
  const unknown = await worked("wrong", undefined);
  assertEquals(unknown, 3 * 1_024);
  for (const cost of [argon2id(1_024), argon2id(500, 3), argon2id(2_048), argon2id(100), today]) {
    using before = new PasswordHasher(cost, 1, 1);
    const phc = await before.hash("sesame");
    assertEquals(await worked("wrong", phc), unknown, JSON.stringify(cost));
    assertEquals(await worked("sesame", phc), workOf(cost), "a right one is known by itself");
  }
});

Deno.test("passwords: do as much work for any wrong password when hashes of scrypt are stored", async () => {
  const today = argon2id(64, 2);
  using recorder = new Recorder();
  using passwords = new PasswordHasher(today, 1, 10, recorder.derive);
  const hash = await passwords.hash("sesame");
  const [old, cheaper] = [await hashByScrypt("sesame", 8), await hashByScrypt("sesame", 6)];
  recorder.takeCosts();
  /** Returns the work of each method. */
  const worked = async (password: string, phc: string | undefined) => {
    await passwords.verify(password, phc);
    const costs = recorder.takeCosts();
    return ["argon2id", "scrypt"].map((method) =>
      costs.filter((cost) => cost.method === method).map(workOf).reduce((sum, work) => sum + work, 0)
    );
  };
  assertEquals(await worked("wrong", undefined), [128, 0], "none of them is known");
  assertEquals(await worked("sesame", cheaper), [0, 512]);
  assertEquals(await worked("wrong", undefined), [128, 512]);
  const all = [128, 2_048];
  assertEquals(await worked("wrong", old), all);
  for (const phc of [old, cheaper, hash, undefined, "*", `${PLAINTEXT_PREFIX}sesame`]) {
    assertEquals(await worked("wrong", phc), all, phc);
  }
  assertEquals(await worked("sesame", old), [0, 2_048], "a right one is known by itself");
  assertEquals(await worked("sesame", hash), [128, 0]);
});

Deno.test("passwords: free the place of a hash that fails", async () => {
  let isBroken = true;
  using passwords = new PasswordHasher(CHEAP, 1, 10, async (request) => {
    if (isBroken) throw new Error("out of memory");
    return await deriveKey(request);
  });
  const results = await Promise.allSettled([passwords.hash("sesame"), passwords.verify("sesame", undefined)]);
  assertEquals(results.map(({ status }) => status), ["rejected", "rejected"]);
  isBroken = false;
  const hash = await passwords.hash("sesame");
  assertEquals((await passwords.verify("sesame", hash)).valid, true);
});

Deno.test("passwords: at least one hash is in progress on each node, and at most 4", () => {
  const [one, ...others] = [1, 2, 1_000].map(hashConcurrency);
  assertEquals(one, Math.min(navigator.hardwareConcurrency, 4));
  assertEquals(others.map((count) => count >= 1 && count <= one!), [true, true]);
});

Deno.test("passwords: a runtime that cannot hash is known at the start", async () => {
  using working = new PasswordHasher(CHEAP, 1, 10);
  await working.start();
  using broken = new PasswordHasher(CHEAP, 1, 10, () => Promise.reject(new Error("no Argon2id")));
  await assertRejects(() => broken.start(), Error, "no Argon2id");
});

/** Milliseconds by which a timer may be early by another clock. */
const TIMER_SLACK_MS = 2;

Deno.test("passwords: pause for the time of a hash, unless the password was correct", async () => {
  using recorder = new Recorder();
  using passwords = new PasswordHasher(SLOW, 1, 10, recorder.derive);
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
  const orders = recorder.orders.slice(1); // after the new hash
  for (const [i, right] of rights.slice(0, -1).entries()) {
    const [{ began, ended }, next] = orders.slice(i, i + 2) as [typeof orders[0], typeof orders[0]];
    assertEquals(next.isAtOnce, right, `behind check ${i}`);
    if (right) continue;
    assertGreaterOrEqual(next.began - ended, ended - began - TIMER_SLACK_MS, `the rest behind check ${i}`);
  }
});
