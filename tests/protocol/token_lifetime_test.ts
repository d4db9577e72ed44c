/** The lifetime of a token, however often it is used. */
import { assert, assertEquals } from "@std/assert";
import { issueToken } from "../../lib/server/sessions/tokens.ts";
import type { Store } from "../../lib/store/store.ts";
import { Errno, Msg } from "../harness/protocol_numbers.ts";
import { FramedClient, login, register } from "../harness/framed_client.ts";
import { withNodes } from "../harness/nodes.ts";

const HOUR_MS = 3_600_000;
const TOLERANCE_MS = 2 * HOUR_MS; // for clock skew

Deno.test("token-lifetime: ends a token however often it is used; the password gives a new one", async () => {
  const config = { tokenTtl: 30 * 24 * HOUR_MS, tokenLifetime: 90 * 24 * HOUR_MS };
  let time = Date.now();
  await withNodes(1, async (node) => {
    const id = await register(node!);
    for (let round = 0; round < 2; round++) {
      const end = Math.ceil(time / HOUR_MS) * HOUR_MS + config.tokenLifetime;
      await using first = await login(node!, { id });
      const { token } = first;
      const ask = async () => {
        await using client = await FramedClient.connect(node!);
        return await client.request({ msgid: Msg.LOGIN, token });
      };
      for (const left of [65, 40, 15, 0.1].map((days) => days * 24 * HOUR_MS).concat(1 - TOLERANCE_MS)) {
        time = end - left;
        const replies = [await ask(), await ask()]; // the second as after a lost reply
        assertEquals(replies.map((reply) => [reply.errno, reply.token]), [[Errno.OK, token], [
          Errno.OK,
          token,
        ]], `${left}`);
      }
      time = end + TOLERANCE_MS;
      assertEquals((await ask()).errno, Errno.FAILED);
    }
  }, { config, now: () => time });
});

Deno.test("token-lifetime: ends unused tokens, too, when it is shorter than --token-ttl", async () => {
  const config = { tokenTtl: 30 * 24 * HOUR_MS, tokenLifetime: HOUR_MS };
  // the worst case: lifetimes are counted from a full hour
  const start = Math.ceil(Date.now() / HOUR_MS) * HOUR_MS;
  let time = start;
  let store: Store | undefined;
  await withNodes(1, async (node) => {
    const id = await register(node!);
    await using first = await login(node!, { id });
    assertEquals((await store!.findSession(id))!.expires, start + HOUR_MS);
    for (const [after, errno] of [[-1, Errno.OK], [0, Errno.FAILED]] as const) {
      time = start + HOUR_MS + TOLERANCE_MS + after;
      await using client = await FramedClient.connect(node!);
      assertEquals((await client.request({ msgid: Msg.LOGIN, token: first.token })).errno, errno);
    }
  }, { config, now: () => time, store: (real) => store = real });
});

Deno.test("token-lifetime: ends a token that was made under a longer setting", async () => {
  const config = { tokenTtl: 30 * 24 * HOUR_MS, tokenLifetime: 10 * 24 * HOUR_MS };
  let time = Math.ceil(Date.now() / HOUR_MS) * HOUR_MS;
  let store: Store | undefined;
  await withNodes(1, async (node) => {
    const id = await register(node!);
    await using first = await login(node!, { id });
    await first.close();
    const { text: token, hash } = issueToken(id, time);
    const number = (await store!.latestLoginEpochs([id])).get(id)!;
    await store!.saveSession({ user: id, loginEpoch: number }, hash, time + config.tokenTtl);
    time += config.tokenLifetime + TOLERANCE_MS - 1;
    for (const errno of [Errno.OK, Errno.FAILED]) {
      await using client = await FramedClient.connect(node!);
      assertEquals((await client.request({ msgid: Msg.LOGIN, token })).errno, errno);
      time++;
    }
  }, { config, now: () => time, store: (real) => store = real });
});

Deno.test("token-lifetime: takes a token of an earlier version, without an age, until its end", async () => {
  const config = { tokenTtl: 30 * 24 * HOUR_MS };
  let time = Date.now();
  let store: Store | undefined;
  await withNodes(1, async (node) => {
    const id = await register(node!);
    await using first = await login(node!, { id });
    await first.close();
    const secret = new Uint8Array(32).fill(255);
    const hash = new Uint8Array(await crypto.subtle.digest("SHA-256", secret));
    const end = time + config.tokenTtl;
    const number = (await store!.latestLoginEpochs([id])).get(id)!;
    assertEquals(await store!.saveSession({ user: id, loginEpoch: number }, hash, end), true);
    const token = `${id}.${secret.toBase64({ alphabet: "base64url", omitPadding: true })}`;
    const times = [time, end - HOUR_MS, end + TOLERANCE_MS - 1, end + TOLERANCE_MS];
    for (const [at, errno] of [Errno.OK, Errno.OK, Errno.OK, Errno.FAILED].entries()) {
      time = times[at]!;
      await using client = await FramedClient.connect(node!);
      assertEquals((await client.request({ msgid: Msg.LOGIN, token })).errno, errno);
    }
  }, { config, now: () => time, store: (real) => store = real });
});

Deno.test("token-lifetime: leaves the account to one of several logins by one token", async () => {
  await withNodes(2, async (a, b) => {
    const id = await register(a!);
    await using first = await login(a!, { id });
    const { token } = first;
    await using open = new AsyncDisposableStack();
    const clients = await Promise.all([a, b, a, b].map((node) => FramedClient.connect(node!)));
    for (const client of clients) open.use(client);
    const replies = await Promise.all(clients.map((client) => client.request({ msgid: Msg.LOGIN, token })));
    assert(replies.some(({ errno }) => errno === Errno.OK));
    for (const { errno, token: answered } of replies) {
      assert(errno === Errno.OK ? answered === token : errno === Errno.ALREADY_ONLINE, `${errno}`);
    }
    await using last = await FramedClient.connect(b!);
    assertEquals((await last.login({ token })).token, token);
  });
});
