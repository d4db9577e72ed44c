/** Two nodes in this process with one store and one hub. */
import { assertEquals } from "@std/assert";
import type { Bus, Hint } from "../../lib/bus/bus.ts";
import type { Store, StoredMessage } from "../../lib/store/store.ts";
import { Errno, Msg } from "../harness/protocol_numbers.ts";
import { FramedClient, login, PASSWORD, register } from "../harness/framed_client.ts";
import { withNodes, wrapped } from "../harness/nodes.ts";
import { pause } from "../harness/wait.ts";

Deno.test("two nodes: exchange messages, group messages and presence", () =>
  withNodes(2, async (a, b) => {
    const ids = [await register(a!, "alice"), await register(a!, "bob")] as const;
    await using alice = await login(a!, { id: ids[0] });
    await alice.succeed({ msgid: Msg.ADD_FRIEND, friendid: ids[1] });
    await using bob = await login(b!, { id: ids[1] });
    assertEquals((await alice.next(Msg.PRESENCE)).state, "online");
    for (let i = 1; i <= 3; i++) assertEquals((await alice.chat(ids[1], `m${i}`)).seq, i);
    const got = await bob.take(3, Msg.ONE_CHAT);
    assertEquals(got.map(({ seq, msg }) => [seq, msg]), [[1, "m1"], [2, "m2"], [3, "m3"]]);
    const { groupid } = await alice.succeed({ msgid: Msg.CREATE_GROUP, groupname: "g", groupdesc: "" });
    await bob.succeed({ msgid: Msg.ADD_GROUP, groupid });
    await alice.groupChat(groupid!, "all");
    assertEquals((await bob.next(Msg.GROUP_CHAT)).msg, "all");
    await bob.groupChat(groupid!, "back");
    assertEquals((await alice.next(Msg.GROUP_CHAT)).seq, 2);
    await bob.close();
    assertEquals((await alice.next(Msg.PRESENCE)).state, "offline");
  }));

Deno.test("two nodes: an account has one session on any node", () =>
  withNodes(2, async (a, b) => {
    const id = await register(a!, "alice");
    await using first = await login(a!, { id });
    await using second = await FramedClient.connect(b!);
    const refused = await second.request({ msgid: Msg.LOGIN, id, password: PASSWORD });
    assertEquals(refused.errno, Errno.ALREADY_ONLINE);
    await second.login({ id }, { force: true });
    assertEquals((await first.next(Msg.NOTICE)).kind, "kicked");
    await first.serverCloses();
    await using friend = await FramedClient.connect(b!);
    await friend.login({ id: await friend.register("bob") });
    await friend.succeed({ msgid: Msg.ADD_FRIEND, friendid: id });
    await using third = await FramedClient.connect(a!);
    await third.login({ token: second.token });
    assertEquals((await second.next(Msg.NOTICE)).kind, "kicked");
    await friend.chat(id, "where are you?");
    assertEquals((await third.next(Msg.ONE_CHAT)).msg, "where are you?");
    await third.close();
    // The account was in use all the time, so the first PRESENCE to its friends is its end.
    assertEquals((await friend.next(Msg.PRESENCE)).state, "offline");
  }));

Deno.test("two nodes: one of two concurrent logins gets the account", () =>
  withNodes(2, async (a, b) => {
    const id = await register(a!, "alice");
    for (let round = 0; round < 20; round++) {
      const clients = await Promise.all([a, b, a, b].map((at) => FramedClient.connect(at!)));
      try {
        const replies = await Promise.all(
          clients.map((client) => client.request({ msgid: Msg.LOGIN, id, password: PASSWORD })),
        );
        const { OK, ALREADY_ONLINE } = Errno;
        const errnos = replies.map(({ errno }) => errno).sort();
        assertEquals(errnos, [OK, ALREADY_ONLINE, ALREADY_ONLINE, ALREADY_ONLINE]);
        const winner = clients[replies.findIndex(({ errno }) => errno === OK)]!;
        await winner.succeed({ msgid: Msg.LOGOUT });
      } finally {
        await Promise.all(clients.map((client) => client.close()));
      }
    }
  }));

/** A bus that loses two of three message hints, which the store must compensate. */
function losing(bus: Bus): Bus {
  let count = 0;
  return wrapped(bus, (name, go, args) => {
    const isLost = name === "publish" && (args[1] as Hint).kind === "message" && ++count % 3 !== 0;
    return isLost ? undefined : go();
  });
}

Deno.test("two nodes: I2 lost hints leave no gap", () =>
  withNodes(2, async (a, b) => {
    await using alice = await FramedClient.connect(a!);
    await alice.login({ id: await alice.register("alice") });
    await using bob = await FramedClient.connect(b!);
    await bob.login({ id: await bob.register("bob") });
    for (let i = 1; i <= 30; i++) await alice.chat(bob.id, `${i}`);
    const got = await bob.take(30, Msg.ONE_CHAT);
    assertEquals(got.map(({ seq, msg }) => [seq, msg]), got.map((_, i) => [i + 1, `${i + 1}`]));
  }, { bus: losing }));

const SUBSCRIBE_MS = 300; // ms until the subscription of a group is effective
const CHAT_MS = 100; // ms of chat, all of it before that

/** A bus with slow subscriptions of groups. */
function slow(bus: Bus): Bus {
  return wrapped(bus, async (name, go, args) => {
    if (name === "subscribe" && (args[0] as number) < 0) await pause(SUBSCRIBE_MS);
    return await go();
  });
}

Deno.test("two nodes: I3 messages during logins and joins arrive without later messages", () =>
  withNodes(2, async (a, b) => {
    await using alice = await FramedClient.connect(a!);
    await alice.login({ id: await alice.register("alice") });
    const { groupid } = await alice.succeed({ msgid: Msg.CREATE_GROUP, groupname: "g", groupdesc: "" });
    let said = 0;
    const talk = async () => {
      for (const end = performance.now() + CHAT_MS; performance.now() < end;) {
        await alice.groupChat(groupid!, `${++said}`);
      }
    };
    const last = (one: FramedClient) => one.next((m) => m.msgid === Msg.GROUP_CHAT && m.seq === said);
    const id = await register(b!, "bob");
    await using bob = await login(b!, { id });
    await using carol = await FramedClient.connect(b!);
    await carol.login({ id: await carol.register("carol") });

    // Both join on the same node, independently of each other.
    const joined = Promise.all([bob, carol].map((one) => one.succeed({ msgid: Msg.ADD_GROUP, groupid })));
    await talk();
    await joined;
    await Promise.all([last(bob), last(carol)]);

    // After another login, which has to subscribe first.
    await bob.delivered({ groupid: groupid! }, said);
    await bob.close();
    await carol.close();
    await using again = await FramedClient.connect(b!);
    const entering = again.login({ id });
    await talk();
    await entering;
    await last(again);
  }, { bus: slow }));

Deno.test("two nodes: a node tells its store of the messages that the other node has committed", async () => {
  const noted: (readonly number[])[] = [];
  const store = (real: Store) =>
    Object.assign(real, {
      noteCommitted: (recipient: number, { sender, seq }: StoredMessage) =>
        noted.push([recipient, sender, seq]),
    });
  await withNodes(2, async (a, b) => {
    const ids = [
      await register(a!, "alice"),
      await register(a!, "bob"),
      await register(a!, "carol"),
    ] as const;
    await using alice = await login(a!, { id: ids[0] });
    await using bob = await login(b!, { id: ids[1] });
    await using carol = await login(b!, { id: ids[2] });
    await alice.chat(ids[1], "to bob");
    await bob.next(Msg.ONE_CHAT);
    await carol.chat(ids[1], "on one node");
    await bob.next(Msg.ONE_CHAT);
    await bob.chat(ids[0], "to alice");
    await alice.next(Msg.ONE_CHAT);
    assertEquals(noted, [[ids[1], ids[0], 1], [ids[0], ids[1], 2]]);
  }, { store });
});
