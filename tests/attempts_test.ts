/** How often passwords may be tried and accounts be made: exactly that often, for every client and address. */
import { assert, assertEquals, assertRejects } from "@std/assert";
import { RedisBus } from "../lib/bus/redis/redis_bus.ts";
import { LocalHub } from "../lib/bus/local.ts";
import { defaults } from "../lib/config/config.ts";
import { Log } from "../lib/log.ts";
import { RequestError } from "../lib/server/answer.ts";
import { Attempts } from "../lib/server/attempts.ts";
import { ClassicClient } from "./harness/classic_client.ts";
import { Errno, Msg, type Received } from "./harness/contract.ts";
import { FramedClient, freshName, login, newUser, PASSWORD, register } from "./harness/framed_client.ts";
import { withNodes } from "./harness/nodes.ts";
import { Outage } from "./harness/outage.ts";
import { line, TRUSTING } from "./harness/proxy.ts";
import { SECRET, startRedis } from "./harness/redis.ts";
import { type Address, sharedServer, withServer } from "./harness/server.ts";
import { pause, until } from "./harness/wait.ts";
import { events, WORKERS } from "./harness/workers.ts";

/** The limits of the shared server, in a time of which a test takes next to nothing. */
const [WRONG, LOGINS, REGISTRATIONS] = [3, 5, 4];
const test = sharedServer({
  args: [
    ...TRUSTING,
    ...["--account-attempts", `${WRONG}`, "--address-attempts", `${LOGINS}`],
    ...["--address-registrations", `${REGISTRATIONS}`, "--attempts-within", "12h"],
  ],
});

const WAIT_AT_MOST = 60_000; // milliseconds that a client is told to wait

/** A client that comes through a proxy from this address. */
async function from(at: Address, host: string): Promise<FramedClient> {
  const client = await FramedClient.connect(at);
  await client.sendBytes(line(host.includes(":") ? 2 : 1, { host, port: 4_711 }));
  return client;
}

/** The answer to one login on a connection of its own, which is left at once. */
async function tryLogin(at: Address, host: string, who: object, password = "wrong"): Promise<Received> {
  await using client = await from(at, host);
  return await client.request({ msgid: Msg.LOGIN, ...who, password, force: true });
}

/** The answer to one registration. */
async function tryRegister(at: Address, host: string, name: string): Promise<Received> {
  await using client = await from(at, host);
  return await client.request({ msgid: Msg.REGISTER, name, password: PASSWORD });
}

/** What every reply has that is a refusal. */
type Refusal = Pick<Received, "errno" | "errmsg" | "retry_after">;

/** Asserts that a request was refused for being one too many. */
function assertLimited({ errno, errmsg, retry_after }: Refusal, words: string): void {
  assertEquals([errno, errmsg], [Errno.RATE_LIMITED, words]);
  assert(
    Number.isInteger(retry_after) && retry_after! > 0 && retry_after! <= WAIT_AT_MOST,
    `${retry_after} ms`,
  );
}

const ACCOUNT = "too many wrong passwords for this account";
const ADDRESS = "too many logins by password from this address";
const REGISTER = "too many registrations from this address";

let lastAddress = 0;

/** An address from which no client has called. */
function freshAddress(): string {
  lastAddress++;
  return `198.51.${lastAddress >> 8}.${lastAddress & 255}`;
}

test("attempts: a wrong password too many, and not even the right one is looked at; a token still is", async (server) => {
  const name = freshName();
  const id = await register(server, name);
  await using owner = await login(server, { id });
  for (let count = 0; count < WRONG; count++) {
    // By id and by name it is the same account, and wherever it is tried from.
    const { errno } = await tryLogin(server, freshAddress(), count % 2 === 0 ? { id } : { name });
    assertEquals(errno, Errno.FAILED);
  }
  assertLimited(await tryLogin(server, freshAddress(), { id }), ACCOUNT);
  assertLimited(await tryLogin(server, freshAddress(), { name }), ACCOUNT);
  assertLimited(await tryLogin(server, freshAddress(), { name }, PASSWORD), ACCOUNT);
  assertLimited(await tryLogin(server, "127.0.0.1", { name }, PASSWORD), ACCOUNT); // whatever its address may do
  await owner.settle();
  await using back = await login(server, { token: owner.token });
  assertEquals(back.id, id);
  const other = await register(server);
  assertEquals((await tryLogin(server, freshAddress(), { id: other }, PASSWORD)).errno, Errno.OK);
});

test("attempts: whether there is such a user makes no difference", async (server) => {
  const answers = async (who: object) => {
    const said: unknown[] = [];
    for (let count = 0; count < WRONG + 2; count++) {
      const { rid: _, retry_after, ...rest } = await tryLogin(server, freshAddress(), who);
      said.push({ ...rest, isToldWhen: retry_after === WAIT_AT_MOST });
    }
    return said;
  };
  const name = freshName();
  const id = await register(server);
  await register(server, name);
  const known = await answers({ id });
  assertEquals(known.length, WRONG + 2);
  for (const who of [{ name }, { id: 2_000_000_000 }, { name: "nobody" }, { name: "☃ {nobody}" }]) {
    assertEquals(await answers(who), known, JSON.stringify(who));
  }
});

test("attempts: right passwords are not counted, however many", async (server) => {
  const id = await register(server);
  for (let count = 0; count < 3 * WRONG; count++) {
    assertEquals((await tryLogin(server, freshAddress(), { id }, PASSWORD)).errno, Errno.OK);
  }
  for (let count = 0; count < WRONG; count++) {
    assertEquals((await tryLogin(server, freshAddress(), { id })).errno, Errno.FAILED);
  }
  assertLimited(await tryLogin(server, freshAddress(), { id }), ACCOUNT);
});

test("attempts: guesses at the same time are not more than one after another", async (server) => {
  const id = await register(server);
  const replies = await Promise.all(
    Array.from({ length: 30 }, () => tryLogin(server, freshAddress(), { id })),
  );
  const [tried, refused] = [Errno.FAILED, Errno.RATE_LIMITED].map((wanted) =>
    replies.filter(({ errno }) => errno === wanted).length
  );
  assertEquals([tried, refused], [WRONG, 30 - WRONG]);
});

test("attempts: an address has so many logins by password, right or wrong; others have their own", async (server) => {
  const id = await register(server);
  const pairs = [
    [freshAddress(), freshAddress()],
    ["2001:db8:1:2::1", "2001:db8:1:3::1"],
  ] as const;
  for (const [host, other] of pairs) {
    for (let count = 0; count < LOGINS; count++) {
      const reply = count % 2 === 0
        ? await tryLogin(server, host, { id }, PASSWORD)
        : await tryLogin(server, host, { name: freshName("nobody") });
      assertEquals(reply.errno, count % 2 === 0 ? Errno.OK : Errno.FAILED);
    }
    assertLimited(await tryLogin(server, host, { id }, PASSWORD), ADDRESS);
    assertLimited(await tryLogin(server, host, { name: "nobody" }), ADDRESS);
    assertEquals((await tryLogin(server, other, { id }, PASSWORD)).errno, Errno.OK);
  }
  assertLimited(await tryLogin(server, "2001:db8:1:2:ffff:ffff:ffff:ffff", { id }, PASSWORD), ADDRESS);
  assertLimited(await tryLogin(server, `::ffff:${pairs[0][0]}`, { id }, PASSWORD), ADDRESS);
  // A token is no password, and what isn't a whole login isn't one.
  await using client = await from(server, pairs[0][0]);
  await using user = await newUser(server);
  assertEquals((await client.request({ msgid: Msg.LOGIN, name: "nobody" })).errno, Errno.BAD_REQUEST);
  await client.login({ token: user.token });
  for (let count = 0; count < 2 * LOGINS; count++) {
    assertEquals((await tryLogin(server, "127.0.0.9", { id }, PASSWORD)).errno, Errno.OK, "it is exempt");
  }
});

test("attempts: an address may register so many, the names that were taken among them", async (server) => {
  const host = freshAddress();
  const name = freshName();
  for (let count = 0; count < REGISTRATIONS; count++) {
    const { errno } = await tryRegister(server, host, count % 2 === 0 ? freshName() : name);
    assertEquals(errno, count < 3 ? Errno.OK : Errno.FAILED);
  }
  assertLimited(await tryRegister(server, host, freshName()), REGISTER);
  assertLimited(await tryRegister(server, host, name), REGISTER);
  assertEquals((await tryRegister(server, freshAddress(), freshName())).errno, Errno.OK);
  assertEquals(
    (await tryLogin(server, host, { name }, PASSWORD)).errno,
    Errno.OK,
    "a login is another matter",
  );
});

test("attempts: the classic dialect says it in its own replies", async (server) => {
  const host = freshAddress();
  const id = await register(server);
  await using client = await ClassicClient.connect(server);
  await client.sendBytes(line(1, { host, port: 1 }));
  for (let count = 0; count < WRONG; count++) {
    assertEquals((await client.login(id, "wrong")).errno, Errno.FAILED);
  }
  assertLimited(await client.login(id), ACCOUNT);
  for (let count = 0; count <= REGISTRATIONS; count++) {
    await client.send({ msgid: Msg.REGISTER, name: freshName(), password: PASSWORD });
    const reply = await client.next(Msg.REGISTER_ACK);
    if (count < REGISTRATIONS) assertEquals(reply.errno, Errno.OK);
    else assertLimited(reply, REGISTER);
  }
});

const quiet = new Log("error", "text", () => {});

Deno.test("attempts: after the time that is told, one may try again", () =>
  withServer({
    args: [
      ...TRUSTING,
      ...["--account-attempts", "1", "--address-attempts", "1", "--address-registrations", "1"],
      ...["--attempts-within", "1500ms"],
    ],
  }, async (server) => {
    const id = await register(server);
    const [first, second] = [freshAddress(), freshAddress()];
    // One at a time: on a busy machine it may be there again before the second one is asked for.
    const again = async (ask: () => Promise<Received>, wanted: number) => {
      const { retry_after } = await until(async () => {
        const reply = await ask();
        return reply.errno === Errno.RATE_LIMITED ? reply : undefined;
      }, "one too many");
      assert(retry_after! > 0 && retry_after! <= 1_500, `${retry_after} ms`);
      await pause(retry_after! + 5); // by the server's clock, which isn't this one
      assertEquals((await ask()).errno, wanted);
    };
    await Promise.all([
      again(() => tryLogin(server, freshAddress(), { id }), Errno.FAILED),
      again(() => tryLogin(server, first, { name: freshName("nobody") }), Errno.FAILED),
      again(() => tryRegister(server, second, freshName()), Errno.OK),
    ]);
  }));

Deno.test("attempts: workers count together", () =>
  withServer(
    { args: [...WORKERS, "--account-attempts", "10", "--attempts-within", "12h"] },
    async (server) => {
      const id = await register(server);
      const replies: Received[] = [];
      for (let count = 0; count < 40; count++) {
        await using client = await FramedClient.connect(server);
        replies.push(await client.request({ msgid: Msg.LOGIN, id, password: "wrong" }));
      }
      assertEquals(replies.map(({ errno }) => errno), [
        ...new Array<number>(10).fill(Errno.FAILED),
        ...new Array<number>(30).fill(Errno.RATE_LIMITED),
      ]);
      const workers = await until(() => {
        const refused = events(server, "refused");
        return refused.length >= 40 ? new Set(refused.map(({ worker }) => worker)) : undefined;
      }, "all refusals to be logged");
      assertEquals(workers.size, 2);
    },
  ));

/** How many wrong passwords a node takes for an account before it takes no more. */
async function guesses(node: Address, id: number): Promise<number> {
  await using client = await FramedClient.connect(node);
  for (let count = 0;; count++) {
    const reply = await client.request({ msgid: Msg.LOGIN, id, password: "wrong" });
    if (reply.errno !== Errno.FAILED) {
      assertLimited(reply, ACCOUNT);
      return count;
    }
  }
}

Deno.test("attempts: while the nodes can't reach each other, each counts for itself and none is open", async () => {
  const outage = new Outage();
  const most = defaults().accountAttempts;
  await withNodes(2, async (a, b) => {
    const [id, other] = [await register(a), await register(a)];
    assertEquals([await guesses(a, id), await guesses(b, id)], [most, 0]);
    outage.begin();
    assertEquals([await guesses(a, id), await guesses(b, id)], [most, most]);
    await (await login(a, { id: other })).close(); // and what is right is given back to where it was taken from
    assertEquals(await guesses(a, other), most);
    outage.end();
    assertEquals([await guesses(b, id), await guesses(a, id)], [0, 0]);
    assertEquals(await guesses(b, other), most);
  }, { bus: outage.bus });
});

Deno.test("attempts: nodes count together in Redis, and each alone while it is gone", async () => {
  await using redis = await startRedis();
  const most = defaults().accountAttempts;
  await withNodes(2, async (a, b) => {
    const id = await register(a);
    await (await login(b, { id })).close();
    await using both = new AsyncDisposableStack();
    const [atA, atB] = [both.use(await FramedClient.connect(a)), both.use(await FramedClient.connect(b))];
    for (let count = 0; count < most; count++) {
      const reply = await (count % 2 ? atA : atB).request({ msgid: Msg.LOGIN, id, password: "wrong" });
      assertEquals(reply.errno, Errno.FAILED);
    }
    for (const client of [atA, atB]) {
      assertLimited(await client.request({ msgid: Msg.LOGIN, id, password: PASSWORD }), ACCOUNT);
    }
    const [key] = (await redis.command("KEYS", "chat:d:bucket:*")).split("\n");
    assertEquals(key, `chat:d:bucket:{wrong:${id}}`);
    await redis.stop();
    assertEquals([await guesses(a, id), await guesses(b, id)], [most, most]);
  }, { bus: () => new RedisBus([redis.url], quiet, "d", SECRET) });
});

Deno.test("attempts: while Redis refuses to write, logins go on without its locks and counts", async () => {
  await using redis = await startRedis();
  await withNodes(1, async (node) => {
    const id = await register(node);
    await redis.command("CONFIG", "SET", "maxmemory", "1mb");
    await using alice = await login(node, { id });
    await alice.settle();
    await redis.command("CONFIG", "SET", "maxmemory", "0");
  }, { bus: () => new RedisBus([redis.url], quiet, "d", SECRET) });
});

Deno.test("attempts: what fails by no fault of the client's isn't counted, what is refused is", async () => {
  const bus = new LocalHub().attach();
  const limits = {
    accountAttempts: 1,
    addressAttempts: 1,
    addressRegistrations: 1,
    attemptsWithin: 3_600_000,
  };
  const attempts = new Attempts(bus, limits);
  const ways = [
    (work: () => Promise<{ right: boolean }>) => attempts.check(1, work),
    (work: () => Promise<{ right: boolean }>) => attempts.check("nobody", work),
    (work: () => Promise<{ right: boolean }>) => attempts.login("192.0.2.1", work),
    (work: () => Promise<{ right: boolean }>) => attempts.register("192.0.2.1", work),
  ];
  for (const way of ways) {
    for (let count = 0; count < 3; count++) {
      await assertRejects(
        () => way(() => Promise.reject(new Error("the store is away"))),
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
        return Promise.resolve({ right: true });
      }), RequestError);
    assertEquals([isTried, late.errno, late.retryAfter], [false, Errno.RATE_LIMITED, WAIT_AT_MOST]);
  }
  for (let count = 0; count < 3; count++) await attempts.login(undefined, () => Promise.resolve()); // exempt
  await bus.close();
});
