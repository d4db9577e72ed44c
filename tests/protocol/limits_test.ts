/**
 * The limits (I7): the greatest permitted value is taken, and one more gets the reply of docs/PROTOCOL.md.
 */
import { assertEquals, assertStringIncludes } from "@std/assert";
import { LocalHub } from "../../lib/bus/local.ts";
import { Log } from "../../lib/log.ts";
import { CursorWriter } from "../../lib/server/delivery/cursor_writer.ts";
import { LogoutBatch } from "../../lib/server/sessions/logout_batch.ts";
import { Presence } from "../../lib/server/sessions/presence.ts";
import { SessionRegistry } from "../../lib/server/sessions/session_registry.ts";
import { IN_MEMORY, SqliteStore } from "../../lib/store/sqlite/sqlite_store.ts";
import type { CursorUpdate, Login, Store } from "../../lib/store/store.ts";
import { ClassicClient } from "../harness/classic_client.ts";
import { Errno, Msg } from "../harness/protocol_numbers.ts";
import { FramedClient, freshName, login, newGroup, newUser, register } from "../harness/framed_client.ts";
import { withNodes, wrapped } from "../harness/nodes.ts";
import { sharedServer } from "../harness/server.ts";
import { until } from "../harness/wait.ts";
import { ROOMY } from "../store/store_fixture.ts";

const [FRIENDS, GROUPS, MEMBERS, HISTORY_PAGE, MEMBERS_PAGE, DEPTH, VALUES] = [2, 3, 4, 20, 3, 3, 20];

const test = sharedServer({
  args: [
    ...["--max-friends", `${FRIENDS}`, "--max-groups", `${GROUPS}`, "--max-members", `${MEMBERS}`],
    ...[
      "--history-page",
      `${HISTORY_PAGE}`,
      "--members-page",
      `${MEMBERS_PAGE}`,
      "--max-json-depth",
      `${DEPTH}`,
    ],
    ...["--max-json-values", `${VALUES}`],
  ],
});

test("max-friends: takes only users that are listed already when the list is full", async (server) => {
  await using alice = await newUser(server);
  const friends: number[] = [];
  for (let count = 0; count < FRIENDS; count++) friends.push(await register(server));
  for (const friendid of [...friends, ...friends]) await alice.succeed({ msgid: Msg.ADD_FRIEND, friendid });
  const refused = await alice.request({ msgid: Msg.ADD_FRIEND, friendid: await register(server) });
  assertEquals([refused.of, refused.errno], [Msg.ADD_FRIEND, Errno.FAILED]);
  assertStringIncludes(refused.errmsg!, `${FRIENDS} friends`);
  const { friends: listed } = await alice.succeed({ msgid: Msg.CONTACTS });
  assertEquals(listed!.map(({ id }) => id), friends);
});

test("max-groups: refuses to create and join groups at the limit", async (server) => {
  await using alice = await newUser(server);
  await using bob = await newUser(server);
  const own: number[] = [];
  for (let count = 0; count < GROUPS; count++) own.push(await newGroup(count === 0 ? bob : alice));
  await alice.succeed({ msgid: Msg.ADD_GROUP, groupid: own[0] });
  await alice.succeed({ msgid: Msg.ADD_GROUP, groupid: own[0] });
  const made = await alice.request({ msgid: Msg.CREATE_GROUP, groupname: freshName("group") });
  assertEquals([made.of, made.errno], [Msg.CREATE_GROUP, Errno.FAILED]);
  assertStringIncludes(made.errmsg!, `${GROUPS} groups`);
  const joined = await alice.request({ msgid: Msg.ADD_GROUP, groupid: await newGroup(bob) });
  assertEquals([joined.of, joined.errno], [Msg.ADD_GROUP, Errno.FAILED]);
  const { groups } = await alice.succeed({ msgid: Msg.CONTACTS });
  assertEquals(groups!.map(({ id }) => id), own);
});

test("max-members, members-page: fill a group, and return its largest pages", async (server) => {
  await using open = new AsyncDisposableStack();
  const users: FramedClient[] = [];
  for (let count = 0; count < MEMBERS; count++) users.push(open.use(await newUser(server)));
  const [creator, ...others] = users as [FramedClient, ...FramedClient[]];
  const groupid = await newGroup(creator, others);
  const late = open.use(await newUser(server));
  const refused = await late.request({ msgid: Msg.ADD_GROUP, groupid });
  assertEquals([refused.of, refused.errno], [Msg.ADD_GROUP, Errno.FAILED]);
  await others[0]!.succeed({ msgid: Msg.ADD_GROUP, groupid });

  for (const limit of [{}, { limit: MEMBERS_PAGE }]) {
    const { users: page } = await creator.succeed({ msgid: Msg.MEMBERS, groupid, ...limit });
    assertEquals(page!.map(({ id }) => id), users.slice(0, MEMBERS_PAGE).map(({ id }) => id));
  }
  for (const limit of [MEMBERS_PAGE + 1, 500, 501]) {
    const { msgid, errno, errmsg } = await creator.request({ msgid: Msg.MEMBERS, groupid, limit });
    assertEquals([msgid, errno], [Msg.MEMBERS_ACK, Errno.BAD_REQUEST]);
    assertStringIncludes(
      errmsg!,
      `limit must be a whole number from 1 to ${limit > 500 ? 500 : MEMBERS_PAGE}`,
    );
  }
});

test("history-page: returns the largest page, also when the request names no limit", async (server) => {
  await using alice = await newUser(server);
  const id = await register(server);
  for (let seq = 1; seq <= HISTORY_PAGE + 1; seq++) await alice.chat(id, `${seq}`);
  for (const limit of [{}, { limit: HISTORY_PAGE }]) {
    const { messages } = await alice.succeed({ msgid: Msg.HISTORY, id, ...limit });
    assertEquals(messages!.map(({ seq }) => seq), Array.from({ length: HISTORY_PAGE }, (_, at) => at + 2));
  }
  for (const limit of [HISTORY_PAGE + 1, 200, 201]) {
    const { msgid, errno, errmsg } = await alice.request({ msgid: Msg.HISTORY, id, limit });
    assertEquals([msgid, errno], [Msg.HISTORY_ACK, Errno.BAD_REQUEST]);
    assertStringIncludes(
      errmsg!,
      `limit must be a whole number from 1 to ${limit > 200 ? 200 : HISTORY_PAGE}`,
    );
  }
});

test("max-json-depth: takes JSON of the greatest depth in both dialects, and none deeper", async (server) => {
  await using client = await FramedClient.connect(server);
  const nested = (levels: number) => JSON.parse("[".repeat(levels) + "]".repeat(levels));
  for (const extra of [nested(DEPTH - 1), [{}, 1, []], { x: [] }]) {
    assertEquals((await client.request({ msgid: Msg.PING, extra })).errno, Errno.OK);
  }
  for (const extra of [nested(DEPTH), [1, { x: {} }], { x: [[]] }, nested(200)]) {
    const { msgid, errno, errmsg } = await client.request({ msgid: Msg.PING, extra });
    assertEquals([msgid, errno, errmsg], [
      Msg.PONG,
      Errno.BAD_REQUEST,
      "the JSON is nested more than 3 deep",
    ]);
  }
  await using classic = await ClassicClient.connect(server);
  const request = { msgid: Msg.REGISTER, name: freshName(), password: "correct horse" };
  await classic.send({ ...request, extra: nested(DEPTH) });
  assertEquals((await classic.next(Msg.REGISTER_ACK)).errno, Errno.BAD_REQUEST);
  await classic.send({ ...request, extra: nested(DEPTH - 1) });
  assertEquals((await classic.next(Msg.REGISTER_ACK)).errno, Errno.OK);
});

test("max-json-values: takes a body with as many values, and refuses one more", async (server) => {
  await using client = await FramedClient.connect(server);
  const body = (values: number) => ({
    msgid: Msg.PING,
    pad: "x".repeat(1_024),
    list: Array(values - 4).fill(1),
  });
  assertEquals((await client.request(body(VALUES))).errno, Errno.OK); // the rid is a value, too
  await client.send({ ...body(VALUES + 1), rid: 1 });
  const { errno, errmsg } = await client.next(Msg.PONG);
  assertEquals([errno, errmsg], [Errno.BAD_REQUEST, `a body of more than ${VALUES} values`]);
});

const FRAME = 1_024; // bytes: the smallest permitted --max-frame, so that the burst is small

Deno.test("byte-rate: charges a login reply to its user", async () => {
  const config = {
    ...{ messageRate: 1_000, messageBurst: 1_000, byteRate: 1, byteBurst: 2 * FRAME, maxFrame: FRAME },
    ...{ sharedRate: 0, unauthenticatedRate: 0 },
  };
  let store: Store | undefined;
  await withNodes(1, async (node) => {
    const [few, many] = [await register(node!), await register(node!)];
    for (let i = 0; i < 20; i++) await store!.createGroup(many, `group ${i}`, "x".repeat(200));
    const chatAtOnce = async (id: number, toid: number) => {
      await using client = await login(node!, { id });
      return await client.chat(toid, "hello");
    };
    const small = await chatAtOnce(few, many);
    assertEquals(small.errno, Errno.OK, small.errmsg);
    const { errno, retry_after } = await chatAtOnce(many, few);
    assertEquals([errno, retry_after! > 0], [Errno.RATE_LIMITED, true]);
  }, { config, store: (real) => store = real });
});

Deno.test("token-ttl: takes a long-lived token for two more hours of clock skew, no longer", async () => {
  const DAY_MS = 86_400_000;
  const config = { tokenTtl: 30 * DAY_MS };
  let time = Date.now();
  await withNodes(1, async (node) => {
    const id = await register(node!);
    await using first = await login(node!, { id });
    const { token } = first;
    for (const [late, errno] of [[-1, Errno.OK], [0, Errno.FAILED]] as const) {
      time += config.tokenTtl + DAY_MS / 12 + late;
      await using client = await FramedClient.connect(node!);
      assertEquals((await client.request({ msgid: Msg.LOGIN, token })).errno, errno);
    }
  }, { config, now: () => time });
});

Deno.test("token-ttl: takes a token for a hundredth more of clock skew, no longer", async () => {
  const config = { tokenTtl: 10_000 };
  let time = Date.now();
  await withNodes(1, async (node) => {
    const id = await register(node!);
    await using client = await FramedClient.connect(node!);
    const { token } = await client.login({ id });
    const tolerance = config.tokenTtl / 100;
    // Its use starts the lifetime again.
    for (const wait of [config.tokenTtl - 1, config.tokenTtl - 1, config.tokenTtl + tolerance - 1]) {
      time += wait;
      await using again = await FramedClient.connect(node!);
      assertEquals((await again.login({ token: token! })).token, token);
    }
    time += config.tokenTtl + tolerance;
    await using late = await FramedClient.connect(node!);
    assertEquals((await late.request({ msgid: Msg.LOGIN, token })).errno, Errno.FAILED);
  }, { config, now: () => time });
});

/** A store in memory that records the names of called methods; `gate` delays its results. */
async function withNotedStore(
  work: (
    store: Store,
    asked: (name: string) => readonly unknown[][],
    gate: PromiseWithResolvers<void>,
  ) => Promise<void>,
): Promise<void> {
  const real = await SqliteStore.open(IN_MEMORY, ROOMY);
  const calls: [string, ...unknown[]][] = [];
  const gate = Promise.withResolvers<void>();
  const noted = wrapped<Store>(real, async (name, go, args) => {
    calls.push([name, ...args]);
    await gate.promise;
    return go();
  });
  const asked = (name: string) => calls.filter(([called]) => called === name).map(([, ...args]) => args);
  try {
    await work(noted, asked, gate);
  } finally {
    gate.resolve();
    await real.close();
  }
}

const silent = new Log("error", "text", () => {});

Deno.test("cursors: wait up to the limit and advance meanwhile, and one more is dropped", () =>
  withNotedStore(async (store, asked, gate) => {
    gate.resolve();
    const cursors = new CursorWriter(store, silent, 2);
    for (const [peer, seq] of [[2, 1], [3, 1], [3, 5], [4, 1]] as const) cursors.advance(1, peer, seq);
    await cursors.flush();
    assertEquals(asked("advanceCursors"), [[
      [{ user: 1, peer: 3, seq: 5 }, { user: 1, peer: 4, seq: 1 }] satisfies CursorUpdate[],
    ]]);
    for (const peer of [5, 6]) cursors.advance(1, peer, 1);
    await cursors.flush();
    assertEquals(asked("advanceCursors").length, 2, "a slot is free again");
  }));

Deno.test("logouts: wait up to the limit, and the oldest is dropped for one more", () =>
  withNotedStore(async (store, asked, gate) => {
    gate.resolve();
    const logouts = new LogoutBatch(store, silent, 2);
    const logins: Login[] = [1, 2, 3].map((user) => ({ user, loginEpoch: 1 }));
    logins.forEach((login) => logouts.add(login));
    await logouts.flush();
    assertEquals(asked("releaseAccounts"), [[logins.slice(1)]]);
    logins.slice(1).forEach((login) => logouts.add(login));
    await logouts.flush();
    assertEquals(asked("releaseAccounts").length, 2);
  }));

Deno.test("presence: is sent for as many users as may wait, and not for one more", () =>
  withNotedStore(async (store, asked, gate) => {
    const bus = new LocalHub().attach();
    const presence = new Presence({ store, bus, sessions: new SessionRegistry(bus), log: silent }, 2);
    presence.announce(1);
    await until(() => asked("followers").length === 1, "the first announcement");
    for (const user of [2, 3, 3, 4]) presence.announce(user);
    gate.resolve();
    await until(() => asked("followers").length === 3, "the other announcements");
    await presence.stop();
    assertEquals(asked("followers").map(([user]) => user), [1, 2, 3]);
    await bus.close();
  }));
