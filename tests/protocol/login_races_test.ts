/** Concurrent logins to one account by any means: one session stays, and its token is the valid one. */
import { assertEquals } from "@std/assert";
import { type Bus, BusUnavailableError } from "../../lib/bus/bus.ts";
import { BULK } from "../../lib/server/scheduling/classes.ts";
import type { Store } from "../../lib/store/store.ts";
import { Errno, Msg, type Received } from "../harness/protocol_numbers.ts";
import { FramedClient, login, newGroup, newUser, PASSWORD, register } from "../harness/framed_client.ts";
import { joined, objectFrame } from "../harness/frames.ts";
import { withNodes, wrapped } from "../harness/nodes.ts";
import { Outage } from "../harness/outage.ts";
import { pause, until } from "../harness/wait.ts";

/**
 * Milliseconds for the effect of a hint: less than the half minute after which nodes reconcile without one.
 */
const HINT_TIMEOUT_MS = 10_000;

/** A store that holds calls of one operation until `gate` is resolved. `asked` resolves at the first of them. */
function holdingStore(operation: keyof Store) {
  const [asked, gate] = [Promise.withResolvers<void>(), Promise.withResolvers<void>()];
  const store = (real: Store) =>
    wrapped(real, async (name, go) => {
      if (name === operation) {
        asked.resolve();
        await gate.promise;
      }
      return await go();
    });
  return { store, asked, gate };
}

/** Asserts that one of several logins is alive, and that its token is valid. */
async function assertOneAlive(clients: readonly FramedClient[], replies: readonly Received[], what: string) {
  const alive: number[] = [];
  for (const [i, client] of clients.entries()) {
    // Replaced clients have been told so; the remaining one replies.
    const answers = replies[i]!.errno === Errno.OK && await client.settle().then(() => true, () => false);
    if (answers && !client.waiting.some(({ kind }) => kind === "kicked")) alive.push(i);
  }
  assertEquals(alive.length, 1, what);
  return replies[alive[0]!]!.token!;
}

Deno.test("login races: leave the last of several forced logins", () =>
  withNodes(2, async (a, b) => {
    const id = await register(a!);
    for (let round = 0; round < 20; round++) {
      const clients = await Promise.all([a, b, a, b].map((at) => FramedClient.connect(at!)));
      try {
        const replies = await Promise.all(
          clients.map((one) => one.request({ msgid: Msg.LOGIN, id, password: PASSWORD, force: true })),
        );
        const token = await assertOneAlive(clients, replies, `round ${round}`);
        await using again = await login(a!, { token }); // the session that stayed has the valid token
        await again.succeed({ msgid: Msg.LOGOUT });
      } finally {
        await Promise.all(clients.map((client) => client.close()));
      }
    }
  }));

Deno.test("login races: leave one of several logins by token on a node without a bus", async () => {
  const outage = new Outage();
  let watch: Store | undefined;
  let count = 0;
  const store = (real: Store) =>
    wrapped(real, async (name, go) => {
      // the other login has completed by then
      if (name === "claimAccount" && ++count % 2 === 0) await pause(20);
      return await go();
    });
  await withNodes(1, async (node) => {
    await using user = await newUser(node!);
    const { token } = user;
    outage.begin();
    for (let round = 0; round < 5; round++) {
      const clients = await Promise.all([1, 2].map(() => FramedClient.connect(node!)));
      try {
        const replies = await Promise.all(
          clients.map((one) => one.request({ msgid: Msg.LOGIN, token })),
        );
        await assertOneAlive(clients, replies, `round ${round}`);
      } finally {
        await Promise.all(clients.map((client) => client.close()));
      }
      await until(async () => !(await watch!.findUser({ id: user.id }))!.online, "the end of the last login");
    }
  }, { bus: outage.bus, store: (real) => store(watch = real) });
});

Deno.test("login races: leave the later login alone when an overtaken one ends without a bus", async () => {
  const outage = new Outage();
  const [asked, gate] = [Promise.withResolvers<void>(), Promise.withResolvers<void>()];
  let isHeld = false;
  const store = (real: Store) =>
    wrapped(real, async (name, go) => {
      const result = await go();
      if (name === "claimAccount" && isHeld) {
        isHeld = false;
        asked.resolve();
        await gate.promise;
      }
      return result;
    });
  await withNodes(1, async (node) => {
    using _release = { [Symbol.dispose]: () => gate.resolve() }; // also when the test fails before
    const id = await register(node!);
    outage.begin(); // so that there is no lock
    isHeld = true;
    const forced = { msgid: Msg.LOGIN, id, password: PASSWORD, force: true };
    await using slow = await FramedClient.connect(node!);
    const refused = slow.request(forced);
    await asked.promise;
    await using quick = await FramedClient.connect(node!);
    const { token } = await quick.succeed(forced);
    gate.resolve();
    assertEquals((await refused).errno, Errno.ALREADY_ONLINE);
    await quick.settle();
    assertEquals(quick.drain(), [], "the session is not replaced");
    await using again = await login(node!, { token: token! });
    await again.settle();
  }, { bus: outage.bus, store });
});

Deno.test("login races: leave the token with the login by token or password that stays", async () => {
  const slow = (real: Store) =>
    wrapped(real, async (name, go) => {
      if (name === "claimAccount") await pause(30); // so that the token of the other login is saved meanwhile
      return await go();
    });
  await withNodes(2, async (a, b) => {
    const id = await register(a!);
    for (let round = 0; round < 5; round++) {
      await using first = await FramedClient.connect(a!);
      await first.login({ id }, { force: true });
      const clients = await Promise.all([a, b].map((at) => FramedClient.connect(at!)));
      try {
        const by = [{ token: first.token }, { id, password: PASSWORD, force: true }] as const;
        if (round % 2 > 0) clients.reverse();
        const replies = await Promise.all(
          clients.map(async (one, i) => {
            if (i === 0) await pause(round * 5);
            return await one.request({ msgid: Msg.LOGIN, ...by[i] });
          }),
        );
        const token = await assertOneAlive(clients, replies, `round ${round}`);
        await using again = await login(b!, { token });
        await again.settle();
      } finally {
        await Promise.all(clients.map((client) => client.close()));
      }
    }
  }, { store: slow });
});

Deno.test("login races: send presence when a first login is replaced before its reply", () =>
  withNodes(2, async (a, b) => {
    const id = await register(a!);
    await using friend = await newUser(b!);
    await friend.succeed({ msgid: Msg.ADD_FRIEND, friendid: id });
    for (let round = 0; round < 10; round++) {
      const clients = await Promise.all([a, a].map((at) => FramedClient.connect(at!)));
      try {
        const forced = { msgid: Msg.LOGIN, id, password: PASSWORD, force: true };
        const replies = await Promise.all(clients.map((one) => one.request(forced)));
        assertEquals((await friend.next(Msg.PRESENCE)).state, "online", `round ${round}`);
        // A refused client may try again on the same connection.
        const refused = replies.findIndex(({ errno }) => errno === Errno.ALREADY_ONLINE);
        if (refused >= 0) await clients[refused]!.succeed(forced);
        await Promise.all(clients.map((client) => client.close()));
        assertEquals((await friend.next(Msg.PRESENCE)).state, "offline", `round ${round}`);
      } finally {
        await Promise.all(clients.map((client) => client.close()));
      }
    }
    assertEquals(friend.drain(), []);
  }));

Deno.test("login races: send presence when a session was released for a login that fails", async () => {
  let failing = false;
  const bus = (real: Bus) =>
    wrapped(real, (name, go) => {
      return failing && name === "subscribe"
        ? Promise.reject(new BusUnavailableError("fails on purpose"))
        : go();
    });
  await withNodes(2, async (a, b) => {
    await using user = await newUser(a!);
    await using friend = await newUser(b!);
    await friend.succeed({ msgid: Msg.ADD_FRIEND, friendid: user.id });
    failing = true;
    await using client = await FramedClient.connect(b!);
    const reply = await client.request({ msgid: Msg.LOGIN, token: user.token });
    assertEquals(reply.errno, Errno.UNAVAILABLE);
    assertEquals((await user.next(Msg.NOTICE)).kind, "kicked");
    assertEquals((await friend.next(Msg.PRESENCE)).state, "offline");
  }, { bus });
});

for (const isHintLost of [false, true]) {
  const what = isHintLost ? "and no hint says so: the next look finds out" : "is known to the session there";
  Deno.test(`login races: a group joined while the account moves to another node ${what}`, async () => {
    const { store, asked, gate } = holdingStore("joinGroup");
    const bus = (real: Bus) =>
      wrapped(real, (name, go, [, hint]) => {
        const isLost = isHintLost && name === "publish" && (hint as { kind: string }).kind === "joined";
        return isLost ? undefined : go();
      });
    await withNodes(2, async (a, b) => {
      await using creator = await newUser(a!);
      const groupid = await newGroup(creator);
      await using first = await newUser(a!);
      await first.send({ msgid: Msg.ADD_GROUP, groupid, rid: "join" });
      await asked.promise;
      await using second = await login(b!, { token: first.token });
      gate.resolve();
      assertEquals(
        (await first.next((m) => m.rid === "join")).errno,
        Errno.OK,
        "it is answered before the end",
      );
      await creator.groupChat(groupid, "one");
      if (isHintLost) await newGroup(second); // causes a resync
      assertEquals((await second.next(Msg.GROUP_CHAT, HINT_TIMEOUT_MS)).msg, "one");
      await creator.groupChat(groupid, "two");
      assertEquals((await second.next(Msg.GROUP_CHAT, HINT_TIMEOUT_MS)).msg, "two");
    }, { store, bus });
  });
}

Deno.test("login races: delivers a message committed while a group of a lost hint is subscribed (I3)", async () => {
  const { store, asked, gate } = holdingStore("joinGroup");
  const subscribing = Promise.withResolvers<void>();
  const subscribe = Promise.withResolvers<void>();
  let moved: number | undefined; // the group
  const bus = (real: Bus) =>
    wrapped(real, (name, go, [channel, hint]) => {
      if (name === "publish" && (hint as { kind: string }).kind === "joined") return undefined; // it is lost
      if (name !== "subscribe" || moved === undefined || channel !== -moved) return go();
      subscribing.resolve();
      return subscribe.promise.then(go);
    });
  await withNodes(2, async (a, b) => {
    using _release = { [Symbol.dispose]: () => subscribe.resolve() }; // also when the test fails before
    await using creator = await newUser(a!);
    const groupid = await newGroup(creator);
    await using first = await newUser(a!);
    await first.send({ msgid: Msg.ADD_GROUP, groupid, rid: "join" });
    await asked.promise;
    await using second = await login(b!, { token: first.token });
    moved = groupid;
    gate.resolve();
    await first.next((m) => m.rid === "join");
    await creator.groupChat(groupid, "one");
    await newGroup(second); // causes a resync
    assertEquals((await second.next(Msg.GROUP_CHAT, HINT_TIMEOUT_MS)).msg, "one");
    await subscribing.promise;
    await creator.groupChat(groupid, "two");
    subscribe.resolve();
    assertEquals((await second.next(Msg.GROUP_CHAT, HINT_TIMEOUT_MS)).msg, "two");
  }, { store, bus });
});

Deno.test("login races: a login on another node after a LOGOUT gets no acknowledged message again", async () => {
  await withNodes(2, async (a, b) => {
    await using sender = await newUser(a!);
    await using first = await newUser(a!);
    await sender.chat(first.id, "one");
    await first.next(Msg.ONE_CHAT);
    await first.send({ msgid: Msg.DELIVERED, id: sender.id, seq: 1 });
    await first.succeed({ msgid: Msg.LOGOUT });
    await using second = await login(b!, { id: first.id });
    await sender.chat(first.id, "two");
    assertEquals((await second.next(Msg.ONE_CHAT, HINT_TIMEOUT_MS)).msg, "two");
  });
});

Deno.test("login races: the store refuses the end of a login when a later one has begun elsewhere", async () => {
  const [asked, gate] = [Promise.withResolvers<void>(), Promise.withResolvers<void>()];
  let isFirst = true;
  const store = (real: Store) =>
    wrapped(real, async (name, go) => {
      if (name !== "saveSession" || !isFirst) return await go();
      isFirst = false;
      asked.resolve();
      await gate.promise;
      return await go();
    });
  const bus = (real: Bus) =>
    wrapped(real, (name, go, [, hint]) => {
      const isLost = name === "publish" && (hint as { kind: string }).kind === "takeover";
      return isLost ? undefined : go();
    });
  await withNodes(2, async (a, b) => {
    using _release = { [Symbol.dispose]: () => gate.resolve() }; // also when the test fails before
    const id = await register(a!);
    await using early = await FramedClient.connect(a!);
    const reply = early.request({ msgid: Msg.LOGIN, id, password: PASSWORD });
    await asked.promise;
    await using later = await FramedClient.connect(b!);
    await later.login({ id }, { force: true });
    gate.resolve();
    assertEquals((await reply).errno, Errno.ALREADY_ONLINE);
  }, { store, bus });
});

Deno.test("login races: a late released session withholds no message from the later one", async () => {
  const { store, asked, gate } = holdingStore("advanceCursors"); // the cursors are stored before the session is released
  await withNodes(2, async (a, b) => {
    using _release = { [Symbol.dispose]: () => gate.resolve() }; // also when the test fails before
    await using sender = await newUser(a!);
    await using first = await newUser(a!);
    await using friend = await newUser(b!);
    await first.succeed({ msgid: Msg.ADD_FRIEND, friendid: friend.id });
    await friend.succeed({ msgid: Msg.LOGOUT });
    assertEquals((await first.next(Msg.PRESENCE, HINT_TIMEOUT_MS)).state, "offline");
    await sender.chat(first.id, "one");
    await first.next(Msg.ONE_CHAT, HINT_TIMEOUT_MS);
    await first.send({ msgid: Msg.DELIVERED, id: sender.id, seq: 1 });
    await asked.promise;
    // waits at most a second for the other session
    await using second = await login(b!, { token: first.token });
    await sender.chat(first.id, "two"); // delivered on this node to the session that is not released yet
    await using _again = await login(a!, { id: friend.id });
    const told = await second.next(Msg.PRESENCE, HINT_TIMEOUT_MS);
    assertEquals([told.id, told.state], [friend.id, "online"]);
    gate.resolve();
    assertEquals((await second.next((m) => m.msg === "two", HINT_TIMEOUT_MS)).seq, 2);
  }, { store });
});

Deno.test("login races: frequent logins beyond the rate of their connections do not block each other", () =>
  withNodes(1, async (node) => {
    await using user = await newUser(node);
    const count = BULK.maxWeight + 10;
    const clients = await Promise.all(Array.from({ length: count }, () => FramedClient.connect(node)));
    const toBulk = Array.from({ length: 6 }, () => objectFrame({ msgid: Msg.PING })); // the reserve is used up
    const bytes = joined(...toBulk, objectFrame({ msgid: Msg.LOGIN, token: user.token }));
    await Promise.all(clients.map((client) => client.sendBytes(bytes)));
    for (const client of clients) await client.next(Msg.LOGIN_ACK);
    for (const client of clients) await client.close();
  }, { config: { messageRate: 100, unauthenticatedRate: 4, sharedRate: 0, drainTimeout: 1_000 } }));
