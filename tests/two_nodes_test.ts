/** Two nodes in this process over one store and one hub: what crosses between them. */
import { assertEquals } from "@std/assert";
import type { Bus } from "../lib/bus/bus.ts";
import { LocalHub } from "../lib/bus/local.ts";
import { defaults } from "../lib/config/config.ts";
import { Log } from "../lib/log.ts";
import { Server } from "../lib/server/server.ts";
import { IN_MEMORY, SqliteStore } from "../lib/store/sqlite/sqlite_store.ts";
import { FramedClient, login, register } from "./harness/framed_client.ts";
import { Errno, Msg } from "./harness/contract.ts";
import type { Address } from "./harness/server.ts";

interface Pair {
  readonly a: Address;
  readonly b: Address;
}

async function withTwoNodes(
  work: (nodes: Pair) => Promise<void>,
  attach = (hub: LocalHub) => hub.attach(),
): Promise<void> {
  const store = await SqliteStore.open(IN_MEMORY, {
    friendsPerUser: 9,
    groupsPerUser: 9,
    membersPerGroup: 9,
  });
  const hub = new LocalHub();
  const config = { ...defaults(), host: "127.0.0.1", port: 0, scryptLn: 1 };
  const log = new Log("error", "text");
  const buses = [attach(hub), attach(hub)];
  const servers = await Promise.all(
    buses.map((bus) => Server.start({ config, log, store, bus, now: Date.now })),
  );
  try {
    const [a, b] = servers.map(({ address }) => ({ host: address.hostname, port: address.port }));
    await work({ a: a!, b: b! });
  } finally {
    await Promise.all(servers.map((server) => server.drain()));
    await Promise.all(buses.map((bus) => bus.close()));
    await store.close();
  }
}

Deno.test("two nodes: messages, group messages and presence cross", () =>
  withTwoNodes(async ({ a, b }) => {
    const ids = [await register(a, "alice"), await register(a, "bob")] as const;
    await using alice = await login(a, { id: ids[0] });
    await alice.succeed({ msgid: Msg.ADD_FRIEND, friendid: ids[1] });
    await using bob = await login(b, { id: ids[1] });
    assertEquals((await alice.next(Msg.PRESENCE)).state, "online");
    for (let i = 1; i <= 3; i++) assertEquals((await alice.chat(ids[1], `m${i}`)).seq, i);
    assertEquals((await bob.take(3, Msg.ONE_CHAT)).map(({ seq, msg }) => [seq, msg]), [[1, "m1"], [2, "m2"], [
      3,
      "m3",
    ]]);
    const { groupid } = await alice.succeed({ msgid: Msg.CREATE_GROUP, groupname: "g", groupdesc: "" });
    await bob.succeed({ msgid: Msg.ADD_GROUP, groupid });
    await alice.groupChat(groupid!, "all");
    assertEquals((await bob.next(Msg.GROUP_CHAT)).msg, "all");
    await bob.groupChat(groupid!, "back");
    assertEquals((await alice.next(Msg.GROUP_CHAT)).seq, 2);
    await bob.close();
    assertEquals((await alice.next(Msg.PRESENCE)).state, "offline");
  }));

Deno.test("two nodes: one account has one session, wherever it is", () =>
  withTwoNodes(async ({ a, b }) => {
    const id = await register(a, "alice");
    await using first = await login(a, { id });
    await using second = await FramedClient.connect(b);
    const refused = await second.request({ msgid: Msg.LOGIN, id, password: "correct horse" });
    assertEquals(refused.errno, Errno.ALREADY_ONLINE);
    await second.login({ id }, { force: true });
    assertEquals((await first.next(Msg.NOTICE)).kind, "kicked");
    await first.serverCloses();
    await using third = await FramedClient.connect(a);
    await third.login({ token: second.token });
    assertEquals((await second.next(Msg.NOTICE)).kind, "kicked");
    await using friend = await FramedClient.connect(b);
    await friend.login({ id: await friend.register("bob") });
    await friend.chat(id, "where are you?");
    assertEquals((await third.next(Msg.ONE_CHAT)).msg, "where are you?");
  }));

Deno.test("two nodes: of two logins in the same instant one gets the account", () =>
  withTwoNodes(async ({ a, b }) => {
    const id = await register(a, "alice");
    for (let round = 0; round < 20; round++) {
      const clients = await Promise.all([a, b, a, b].map((at) => FramedClient.connect(at)));
      try {
        const replies = await Promise.all(
          clients.map((client) => client.request({ msgid: Msg.LOGIN, id, password: "correct horse" })),
        );
        const { OK, ALREADY_ONLINE } = Errno;
        assertEquals(replies.map(({ errno }) => errno).sort(), [
          OK,
          ALREADY_ONLINE,
          ALREADY_ONLINE,
          ALREADY_ONLINE,
        ]);
        const winner = clients[replies.findIndex(({ errno }) => errno === OK)]!;
        await winner.succeed({ msgid: Msg.LOGOUT });
      } finally {
        await Promise.all(clients.map((client) => client.close()));
      }
    }
  }));

/** A bus that loses every message's hint but each third: the store has to make up for it (invariant I2). */
function losing(hub: LocalHub): Bus {
  const bus = hub.attach();
  let count = 0;
  const publish = bus.publish.bind(bus);
  bus.publish = (channel, hint) => {
    if (hint.kind !== "message" || ++count % 3 === 0) publish(channel, hint);
  };
  return bus;
}

Deno.test("two nodes: I2 hints that are lost leave no gap", () =>
  withTwoNodes(async ({ a, b }) => {
    await using alice = await FramedClient.connect(a);
    await alice.login({ id: await alice.register("alice") });
    await using bob = await FramedClient.connect(b);
    await bob.login({ id: await bob.register("bob") });
    for (let i = 1; i <= 30; i++) await alice.chat(bob.id, `${i}`);
    const got = await bob.take(30, Msg.ONE_CHAT);
    assertEquals(got.map(({ seq, msg }) => [seq, msg]), got.map((_, i) => [i + 1, `${i + 1}`]));
  }, losing));
