/** The limits on logins by password and on registrations: exact for each client and address. */
import { assert, assertEquals } from "@std/assert";
import {
  ACCOUNT,
  ADDRESS,
  assertLimited,
  EXEMPT,
  freshAddress,
  REGISTER,
  tryLogin,
  tryRegister,
  WAIT_AT_MOST,
} from "./login_throttle_fixture.ts";
import { ClassicClient } from "../harness/classic_client.ts";
import { Errno, Msg, type Received } from "../harness/protocol_numbers.ts";
import { freshName, login, newUser, PASSWORD, register } from "../harness/framed_client.ts";
import { connectFrom, proxyHeaderV1, TRUSTING } from "../harness/proxy.ts";
import { sharedServer, withServer } from "../harness/server.ts";
import { pause, until } from "../harness/wait.ts";

/** The limits of the shared server, with a window that is much longer than a test. */
const [WRONG, LOGINS, REGISTRATIONS] = [3, 5, 4];
const test = sharedServer({
  args: [
    ...TRUSTING,
    ...["--max-failed-logins", `${WRONG}`, "--max-logins-per-address", `${LOGINS}`],
    ...["--max-registrations-per-address", `${REGISTRATIONS}`, "--attempts-window", "12h"],
  ],
});

/** Wrong passwords for one account from all unknown places together. Afterwards each place has one more. */
const TOTAL = 10 * WRONG;

test("login throttle: after too many wrong passwords even the right one is refused, and a token is not", async (server) => {
  const id = await register(server);
  await using owner = await login(server, { id });
  for (const host of [freshAddress(), EXEMPT]) {
    for (let count = 0; count < WRONG; count++) {
      assertEquals((await tryLogin(server, host, { id })).errno, Errno.FAILED);
    }
    assertLimited(await tryLogin(server, host, { id }), ACCOUNT);
    assertLimited(await tryLogin(server, host, { id }, PASSWORD), ACCOUNT);
  }
  await owner.settle();
  await using back = await login(server, { token: owner.token });
  assertEquals(back.id, id);
  assertEquals((await tryLogin(server, freshAddress(), { id }, PASSWORD)).errno, Errno.OK, "from elsewhere");
  const other = await register(server);
  assertEquals((await tryLogin(server, EXEMPT, { id: other }, PASSWORD)).errno, Errno.OK);
});

test("login throttle: wrong passwords of others never lock a user out", async (server) => {
  const id = await register(server);
  const home = freshAddress();
  assertEquals((await tryLogin(server, home, { id }, PASSWORD)).errno, Errno.OK);
  for (let count = 0; count < TOTAL; count++) {
    assertEquals((await tryLogin(server, freshAddress(), { id })).errno, Errno.FAILED);
  }
  const elsewhere = freshAddress();
  assertEquals((await tryLogin(server, elsewhere, { id })).errno, Errno.FAILED, "one more of each place");
  assertLimited(await tryLogin(server, elsewhere, { id }), ACCOUNT);
  assertLimited(await tryLogin(server, elsewhere, { id }, PASSWORD), ACCOUNT);
  const again = freshAddress();
  for (let count = 0; count < 3; count++) {
    assertEquals(
      (await tryLogin(server, again, { id }, PASSWORD)).errno,
      Errno.OK,
      "right ones use up nothing",
    );
  }
  for (let count = 0; count < WRONG; count++) {
    assertEquals(
      (await tryLogin(server, home, { id })).errno,
      Errno.FAILED,
      "a known place has all of its own",
    );
  }
  assertLimited(await tryLogin(server, home, { id }), ACCOUNT);
});

test("login throttle: an expired token gives a known device attempts of its own", async (server) => {
  const id = await register(server);
  const { token } = await tryLogin(server, EXEMPT, { id }, PASSWORD);
  await tryLogin(server, EXEMPT, { id }, PASSWORD); // its token replaces the first
  const host = freshAddress();
  for (let count = 0; count < WRONG; count++) await tryLogin(server, host, { id });
  assertLimited(await tryLogin(server, host, { id }, PASSWORD), ACCOUNT);
  await using client = await connectFrom(server, host);
  assertEquals((await client.request({ msgid: Msg.LOGIN, token })).errno, Errno.FAILED);
  const reply = await tryLogin(server, EXEMPT, { id, token }, PASSWORD);
  assertEquals(reply.errno, Errno.OK);
  assert(reply.token !== undefined && reply.token !== token);
  for (let count = 0; count < WRONG; count++) {
    assertEquals((await tryLogin(server, EXEMPT, { id, token })).errno, Errno.FAILED);
    assertEquals((await tryLogin(server, EXEMPT, { id })).errno, Errno.FAILED, "others' are others'");
  }
  assertLimited(await tryLogin(server, EXEMPT, { id, token }, PASSWORD), ACCOUNT);
  assertLimited(await tryLogin(server, EXEMPT, { id }, PASSWORD), ACCOUNT);
  // The next token identifies the same device. A valid token logs in with any password.
  assertEquals((await tryLogin(server, EXEMPT, { id, token: reply.token }, "wrong")).errno, Errno.OK);
  const other = await login(server, { id: await register(server) });
  assertLimited(
    await tryLogin(server, EXEMPT, { id, token: `${id}${other.token.slice(`${other.id}`.length)}` }),
    ACCOUNT,
  );
  await other.close();
});

test("login throttle: one place cannot use up the shared limit of unknown places", async (server) => {
  const id = await register(server);
  for (let count = 0; count < TOTAL + 5; count++) await tryLogin(server, EXEMPT, { id });
  const host = freshAddress();
  for (let count = 0; count < WRONG; count++) {
    assertEquals((await tryLogin(server, host, { id })).errno, Errno.FAILED);
  }
});

test("login throttle: an IPv6 /48 is one place, except a known /64 in it", async (server) => {
  const id = await register(server);
  const at = (site: number, network: number) => `2001:db8:${site}:${network}::1`;
  assertEquals((await tryLogin(server, at(7, 1), { id }, PASSWORD)).errno, Errno.OK);
  for (let network = 2; network < 2 + WRONG; network++) {
    assertEquals((await tryLogin(server, at(7, network), { id })).errno, Errno.FAILED);
  }
  assertLimited(await tryLogin(server, at(7, 99), { id }), ACCOUNT);
  assertLimited(await tryLogin(server, at(7, 99), { id }, PASSWORD), ACCOUNT);
  assertEquals((await tryLogin(server, at(7, 1), { id }, PASSWORD)).errno, Errno.OK);
  assertEquals((await tryLogin(server, at(8, 1), { id }, PASSWORD)).errno, Errno.OK);
});

test("login throttle: unknown users are counted like known ones", async (server) => {
  const answers = async (ways: readonly object[]) => {
    const host = freshAddress();
    const said: unknown[] = [];
    for (const who of ways) {
      const { rid: _, retry_after, ...rest } = await tryLogin(server, host, who);
      said.push({ ...rest, isToldWhen: retry_after === WAIT_AT_MOST });
    }
    return said;
  };
  const always = (who: object) => answers(new Array<object>(WRONG + 2).fill(who));
  const name = freshName();
  const id = await register(server);
  const known = await register(server, name);
  const limited = await always({ id });
  for (const who of [{ name }, { id: 2_000_000_000 }, { name: "unknown" }, { name: "☃ {unknown}" }]) {
    assertEquals(await always(who), limited, JSON.stringify(who));
  }
  // The name and the id of an account are counted separately: otherwise one would reveal the other.
  const byBoth = (name: string, id: number) => answers([{ name }, { name }, { name }, { id }, { name }]);
  assertEquals(await byBoth(name, known), await byBoth("unknown", 2_000_000_000));
  // All forms of a name are counted together.
  const accented = freshName("é");
  await register(server, accented);
  const inForms = (name: string) =>
    answers(["NFC", "NFD", "NFC", "NFD", "NFC"].map((form) => ({ name: name.normalize(form) })));
  const forms = await inForms(accented);
  assertEquals(forms, limited);
  assertEquals(await inForms(freshName("unknown é")), forms);
});

test("login throttle: right passwords are not counted", async (server) => {
  const id = await register(server);
  for (let count = 0; count < 3 * WRONG; count++) {
    assertEquals((await tryLogin(server, EXEMPT, { id }, PASSWORD)).errno, Errno.OK);
  }
  for (let count = 0; count < WRONG; count++) {
    assertEquals((await tryLogin(server, EXEMPT, { id })).errno, Errno.FAILED);
  }
  assertLimited(await tryLogin(server, EXEMPT, { id }), ACCOUNT);
});

test("login throttle: simultaneous guesses are counted like sequential ones", async (server) => {
  const id = await register(server);
  const replies = await Promise.all(
    Array.from({ length: 30 }, () => tryLogin(server, EXEMPT, { id })),
  );
  const [tried, refused] = [Errno.FAILED, Errno.RATE_LIMITED].map((wanted) =>
    replies.filter(({ errno }) => errno === wanted).length
  );
  assertEquals([tried, refused], [WRONG, 30 - WRONG]);
});

test("login throttle: bounds the logins by password per address, right or wrong", async (server) => {
  const id = await register(server);
  const pairs = [
    [freshAddress(), freshAddress()],
    ["2001:db8:1:2::1", "2001:db8:1:3::1"],
  ] as const;
  for (const [host, other] of pairs) {
    for (let count = 0; count < LOGINS; count++) {
      const reply = count % 2 === 0
        ? await tryLogin(server, host, { id }, PASSWORD)
        : await tryLogin(server, host, { name: freshName("unknown") });
      assertEquals(reply.errno, count % 2 === 0 ? Errno.OK : Errno.FAILED);
    }
    assertLimited(await tryLogin(server, host, { id }, PASSWORD), ADDRESS);
    assertLimited(await tryLogin(server, host, { name: "unknown" }), ADDRESS);
    assertEquals((await tryLogin(server, other, { id }, PASSWORD)).errno, Errno.OK);
  }
  assertLimited(await tryLogin(server, "2001:db8:1:2:ffff:ffff:ffff:ffff", { id }, PASSWORD), ADDRESS);
  assertLimited(await tryLogin(server, `::ffff:${pairs[0][0]}`, { id }, PASSWORD), ADDRESS);
  // Tokens and incomplete logins are not counted.
  await using client = await connectFrom(server, pairs[0][0]);
  await using user = await newUser(server);
  assertEquals((await client.request({ msgid: Msg.LOGIN, name: "unknown" })).errno, Errno.BAD_REQUEST);
  await client.login({ token: user.token });
  for (let count = 0; count < 2 * LOGINS; count++) {
    assertEquals((await tryLogin(server, "127.0.0.9", { id }, PASSWORD)).errno, Errno.OK, "it is exempt");
  }
});

test("login throttle: bounds the registrations per address, including refused names", async (server) => {
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

test("login throttle: classic clients get the refusal in their own replies", async (server) => {
  const host = freshAddress();
  const id = await register(server);
  await using client = await ClassicClient.connect(server);
  await client.sendBytes(proxyHeaderV1(1, { host, port: 1 }));
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

Deno.test("login throttle: a retry after `retry_after` is accepted", () =>
  withServer({
    args: [
      ...TRUSTING,
      ...[
        "--max-failed-logins",
        "1",
        "--max-logins-per-address",
        "1",
        "--max-registrations-per-address",
        "1",
      ],
      ...["--attempts-window", "1500ms"],
    ],
  }, async (server) => {
    const id = await register(server);
    const [first, second] = [freshAddress(), freshAddress()];
    // One at a time: on a busy machine it may be refilled before the second request.
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
      again(() => tryLogin(server, EXEMPT, { id }), Errno.FAILED),
      again(() => tryLogin(server, first, { name: freshName("unknown") }), Errno.FAILED),
      again(() => tryRegister(server, second, freshName()), Errno.OK),
    ]);
  }));
