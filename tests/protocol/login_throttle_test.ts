/** The limits of logins and registrations for each client and address. */
import { assert, assertEquals } from "@std/assert";
import {
  ACCOUNT_REASON,
  ADDRESS_REASON,
  assertLimited,
  EXEMPT,
  freshAddress,
  MAX_RETRY_AFTER_MS,
  REGISTRATION_REASON,
  tryLogin,
  tryRegister,
} from "./login_throttle_fixture.ts";
import { ClassicClient } from "../harness/classic_client.ts";
import { Errno, Msg, type Received } from "../harness/protocol_numbers.ts";
import { freshName, login, newUser, PASSWORD, register } from "../harness/framed_client.ts";
import { connectFrom, proxyHeaderV1, TRUSTING } from "../harness/proxy.ts";
import { sharedServer, withServer } from "../harness/server.ts";
import { pause, until } from "../harness/wait.ts";

/** The limits of the shared server, with a window that is long compared to a test. */
const [WRONG, LOGINS, REGISTRATIONS] = [3, 5, 4];
const test = sharedServer({
  args: [
    ...TRUSTING,
    ...["--max-failed-logins", `${WRONG}`, "--max-logins-per-address", `${LOGINS}`],
    ...["--max-registrations-per-address", `${REGISTRATIONS}`, "--attempts-window", "12h"],
  ],
});

/** Wrong passwords for one account from unknown addresses, until each has one attempt left. */
const SHARED_ATTEMPTS = 10 * WRONG;

test("login throttle: refuses the correct password, not a token, after wrong ones", async (server) => {
  const id = await register(server);
  await using owner = await login(server, { id });
  for (const host of [freshAddress(), EXEMPT]) {
    for (let count = 0; count < WRONG; count++) {
      assertEquals((await tryLogin(server, host, { id })).errno, Errno.FAILED);
    }
    assertLimited(await tryLogin(server, host, { id }), ACCOUNT_REASON);
    assertLimited(await tryLogin(server, host, { id }, PASSWORD), ACCOUNT_REASON);
  }
  await owner.settle();
  await using back = await login(server, { token: owner.token });
  assertEquals(back.id, id);
  assertEquals((await tryLogin(server, freshAddress(), { id }, PASSWORD)).errno, Errno.OK, "from elsewhere");
  const other = await register(server);
  assertEquals((await tryLogin(server, EXEMPT, { id: other }, PASSWORD)).errno, Errno.OK);
});

test("login throttle: locks no user out by wrong passwords from other addresses", async (server) => {
  const id = await register(server);
  const home = freshAddress();
  assertEquals((await tryLogin(server, home, { id }, PASSWORD)).errno, Errno.OK);
  for (let count = 0; count < SHARED_ATTEMPTS; count++) {
    assertEquals((await tryLogin(server, freshAddress(), { id })).errno, Errno.FAILED);
  }
  const elsewhere = freshAddress();
  assertEquals(
    (await tryLogin(server, elsewhere, { id })).errno,
    Errno.FAILED,
    "one more attempt of each address",
  );
  assertLimited(await tryLogin(server, elsewhere, { id }), ACCOUNT_REASON);
  assertLimited(await tryLogin(server, elsewhere, { id }, PASSWORD), ACCOUNT_REASON);
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
  assertLimited(await tryLogin(server, home, { id }), ACCOUNT_REASON);
});

test("login throttle: gives a known device attempts of its own by its expired token", async (server) => {
  const id = await register(server);
  const { token } = await tryLogin(server, EXEMPT, { id }, PASSWORD);
  await tryLogin(server, EXEMPT, { id }, PASSWORD); // the new token replaces the first
  const host = freshAddress();
  for (let count = 0; count < WRONG; count++) await tryLogin(server, host, { id });
  assertLimited(await tryLogin(server, host, { id }, PASSWORD), ACCOUNT_REASON);
  await using client = await connectFrom(server, host);
  assertEquals((await client.request({ msgid: Msg.LOGIN, token })).errno, Errno.FAILED);
  const reply = await tryLogin(server, EXEMPT, { id, token }, PASSWORD);
  assertEquals(reply.errno, Errno.OK);
  assert(reply.token !== undefined && reply.token !== token);
  for (let count = 0; count < WRONG; count++) {
    assertEquals((await tryLogin(server, EXEMPT, { id, token })).errno, Errno.FAILED);
    assertEquals((await tryLogin(server, EXEMPT, { id })).errno, Errno.FAILED, "others are counted apart");
  }
  assertLimited(await tryLogin(server, EXEMPT, { id, token }, PASSWORD), ACCOUNT_REASON);
  assertLimited(await tryLogin(server, EXEMPT, { id }, PASSWORD), ACCOUNT_REASON);
  // The next token identifies the same device, and a valid token suffices without a password.
  assertEquals((await tryLogin(server, EXEMPT, { id, token: reply.token }, "wrong")).errno, Errno.OK);
  const other = await login(server, { id: await register(server) });
  assertLimited(
    await tryLogin(server, EXEMPT, { id, token: `${id}${other.token.slice(`${other.id}`.length)}` }),
    ACCOUNT_REASON,
  );
  await other.close();
});

test("login throttle: does not let one address use up the shared bucket", async (server) => {
  const id = await register(server);
  for (let count = 0; count < SHARED_ATTEMPTS + 5; count++) await tryLogin(server, EXEMPT, { id });
  const host = freshAddress();
  for (let count = 0; count < WRONG; count++) {
    assertEquals((await tryLogin(server, host, { id })).errno, Errno.FAILED);
  }
});

test("login throttle: counts an IPv6 /48 as one address, but for a user's own /64 in it", async (server) => {
  const id = await register(server);
  const at = (site: number, network: number) => `2001:db8:${site}:${network}::1`;
  assertEquals((await tryLogin(server, at(7, 1), { id }, PASSWORD)).errno, Errno.OK);
  for (let network = 2; network < 2 + WRONG; network++) {
    assertEquals((await tryLogin(server, at(7, network), { id })).errno, Errno.FAILED);
  }
  assertLimited(await tryLogin(server, at(7, 99), { id }), ACCOUNT_REASON);
  assertLimited(await tryLogin(server, at(7, 99), { id }, PASSWORD), ACCOUNT_REASON);
  assertEquals((await tryLogin(server, at(7, 1), { id }, PASSWORD)).errno, Errno.OK);
  assertEquals((await tryLogin(server, at(8, 1), { id }, PASSWORD)).errno, Errno.OK);
});

test("login throttle: treats unknown users as known ones", async (server) => {
  const answers = async (ways: readonly object[]) => {
    const host = freshAddress();
    const said: unknown[] = [];
    for (const who of ways) {
      const { rid: _, retry_after, ...rest } = await tryLogin(server, host, who);
      said.push({ ...rest, isToldWhen: retry_after === MAX_RETRY_AFTER_MS });
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
  // The throttle counts name and id of an account apart, as it would otherwise reveal that they belong
  // together.
  const byBoth = (name: string, id: number) => answers([{ name }, { name }, { name }, { id }, { name }]);
  assertEquals(await byBoth(name, known), await byBoth("unknown", 2_000_000_000));
  // All forms of a name count together.
  const accented = freshName("é");
  await register(server, accented);
  const inForms = (name: string) =>
    answers(["NFC", "NFD", "NFC", "NFD", "NFC"].map((form) => ({ name: name.normalize(form) })));
  const forms = await inForms(accented);
  assertEquals(forms, limited);
  assertEquals(await inForms(freshName("unknown é")), forms);
});

test("login throttle: does not count correct passwords", async (server) => {
  const id = await register(server);
  for (let count = 0; count < 3 * WRONG; count++) {
    assertEquals((await tryLogin(server, EXEMPT, { id }, PASSWORD)).errno, Errno.OK);
  }
  for (let count = 0; count < WRONG; count++) {
    assertEquals((await tryLogin(server, EXEMPT, { id })).errno, Errno.FAILED);
  }
  assertLimited(await tryLogin(server, EXEMPT, { id }), ACCOUNT_REASON);
});

test("login throttle: permits no more concurrent guesses than successive ones", async (server) => {
  const id = await register(server);
  const replies = await Promise.all(
    Array.from({ length: 30 }, () => tryLogin(server, EXEMPT, { id })),
  );
  const [tried, refused] = [Errno.FAILED, Errno.RATE_LIMITED].map((wanted) =>
    replies.filter(({ errno }) => errno === wanted).length
  );
  assertEquals([tried, refused], [WRONG, 30 - WRONG]);
});

test("login throttle: limits logins by password for each address, correct or wrong", async (server) => {
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
    assertLimited(await tryLogin(server, host, { id }, PASSWORD), ADDRESS_REASON);
    assertLimited(await tryLogin(server, host, { name: "unknown" }), ADDRESS_REASON);
    assertEquals((await tryLogin(server, other, { id }, PASSWORD)).errno, Errno.OK);
  }
  assertLimited(await tryLogin(server, "2001:db8:1:2:ffff:ffff:ffff:ffff", { id }, PASSWORD), ADDRESS_REASON);
  assertLimited(await tryLogin(server, `::ffff:${pairs[0][0]}`, { id }, PASSWORD), ADDRESS_REASON);
  // Tokens and incomplete logins do not count.
  await using client = await connectFrom(server, pairs[0][0]);
  await using user = await newUser(server);
  assertEquals((await client.request({ msgid: Msg.LOGIN, name: "unknown" })).errno, Errno.BAD_REQUEST);
  await client.login({ token: user.token });
  for (let count = 0; count < 2 * LOGINS; count++) {
    assertEquals((await tryLogin(server, "127.0.0.9", { id }, PASSWORD)).errno, Errno.OK, "it is exempt");
  }
});

test("login throttle: limits registrations for each address, names in use included", async (server) => {
  const host = freshAddress();
  const name = freshName();
  for (let count = 0; count < REGISTRATIONS; count++) {
    const { errno } = await tryRegister(server, host, count % 2 === 0 ? freshName() : name);
    assertEquals(errno, count < 3 ? Errno.OK : Errno.FAILED);
  }
  assertLimited(await tryRegister(server, host, freshName()), REGISTRATION_REASON);
  assertLimited(await tryRegister(server, host, name), REGISTRATION_REASON);
  assertEquals((await tryRegister(server, freshAddress(), freshName())).errno, Errno.OK);
  assertEquals(
    (await tryLogin(server, host, { name }, PASSWORD)).errno,
    Errno.OK,
    "a login is another matter",
  );
});

test("login throttle: uses the replies of the classic dialect", async (server) => {
  const host = freshAddress();
  const id = await register(server);
  await using client = await ClassicClient.connect(server);
  await client.sendBytes(proxyHeaderV1(1, { host, port: 1 }));
  for (let count = 0; count < WRONG; count++) {
    assertEquals((await client.login(id, "wrong")).errno, Errno.FAILED);
  }
  assertLimited(await client.login(id), ACCOUNT_REASON);
  for (let count = 0; count <= REGISTRATIONS; count++) {
    await client.send({ msgid: Msg.REGISTER, name: freshName(), password: PASSWORD });
    const reply = await client.next(Msg.REGISTER_ACK);
    if (count < REGISTRATIONS) assertEquals(reply.errno, Errno.OK);
    else assertLimited(reply, REGISTRATION_REASON);
  }
});

Deno.test("login throttle: permits another attempt after retry_after", () =>
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
    // One at a time: on a busy machine the attempt may have returned before the second request.
    const again = async (ask: () => Promise<Received>, wanted: number) => {
      const { retry_after } = await until(async () => {
        const reply = await ask();
        return reply.errno === Errno.RATE_LIMITED ? reply : undefined;
      }, "one too many");
      assert(retry_after! > 0 && retry_after! <= 1_500, `${retry_after} ms`);
      await pause(retry_after! + 5); // the server's clock may differ
      assertEquals((await ask()).errno, wanted);
    };
    await Promise.all([
      again(() => tryLogin(server, EXEMPT, { id }), Errno.FAILED),
      again(() => tryLogin(server, first, { name: freshName("unknown") }), Errno.FAILED),
      again(() => tryRegister(server, second, freshName()), Errno.OK),
    ]);
  }));
