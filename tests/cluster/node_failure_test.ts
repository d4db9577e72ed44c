/**
 * A node that dies or freezes: its users can log in elsewhere at once, and no acknowledged message is lost.
 */
import { assertEquals, assertLess } from "@std/assert";
import { type Cluster, clusterTest, type ClusterWork } from "../harness/cluster.ts";
import { Errno, Msg, type Received } from "../harness/protocol_numbers.ts";
import { FramedClient, login, newGroup, newUser, PASSWORD } from "../harness/framed_client.ts";
import type { Server } from "../harness/server.ts";
import { until } from "../harness/wait.ts";

// ms until the users of a dead node can log in again and are shown as offline
const FAILOVER_TIMEOUT_MS = 2_000;
const MESSAGES = 400; // of one sender, before and after the end of its node
const MAX_IN_FLIGHT = 32; // of them in flight
const ACKS_BEFORE_KILL = 100; // acknowledgements

/** Defines a test with a cluster of its own, as a test may restart only processes that it has started. */
const test = (name: string, work: ClusterWork) => clusterTest(name, { nodes: 3 }, work);

/** Makes `user` a follower of `friend`. */
async function befriend(user: FramedClient, friend: FramedClient): Promise<void> {
  await user.succeed({ msgid: Msg.ADD_FRIEND, friendid: friend.id });
}

/** Kills a node, runs `work`, and starts the node again. */
async function without(node: Server, work: () => Promise<void>): Promise<void> {
  node.kill("SIGKILL");
  await node.wait();
  try {
    await work();
  } finally {
    await node.restart();
  }
}

/** Stops a node by SIGSTOP. Disposing of the result continues it. */
function stopped(node: Server): Disposable {
  node.kill("SIGSTOP");
  return { [Symbol.dispose]: () => node.kill("SIGCONT") };
}

async function becomes(cluster: Cluster, user: FramedClient, state: string): Promise<void> {
  await until(async () => await cluster.state(user.id) === state, `User.state ${state} of ${user.name}`);
}

test(
  "node failure: after kill -9 users log in elsewhere at once, and the others are shown as offline",
  async (cluster, open) => {
    const [alice, bob] = await cluster.usersApart(open);
    const dave = open.use(await newUser(cluster.node(0)));
    await befriend(bob!, alice!);
    await befriend(bob!, dave);
    await without(cluster.node(0), async () => {
      const killed = performance.now();
      // The account is free: a login needs neither force nor a token.
      const back = open.use(await FramedClient.connect(cluster.nginx));
      await back.login({ id: alice!.id });
      assertLess(performance.now() - killed, FAILOVER_TIMEOUT_MS);
      await bob!.next((m) => m.msgid === Msg.PRESENCE && m.id === dave.id && m.state === "offline");
      assertLess(performance.now() - killed, FAILOVER_TIMEOUT_MS);

      const { friends } = await bob!.succeed({ msgid: Msg.CONTACTS });
      const states = new Map(friends!.map(({ id, state }) => [id, state]));
      assertEquals([states.get(alice!.id), states.get(dave.id)], ["online", "offline"]);
      await until(
        async () => (await lastTold(bob!, alice!)) !== "offline",
        "alice not to be shown as offline",
      );
      await becomes(cluster, dave, "offline");
      assertEquals([await cluster.state(alice!.id), await cluster.state(bob!.id)], ["online", "online"]);

      await bob!.chat(back.id, "are you there?");
      assertEquals((await back.next(Msg.ONE_CHAT)).msg, "are you there?");
      await back.chat(bob!.id, "I am");
      assertEquals((await bob!.next(Msg.ONE_CHAT)).msg, "I am");
      await bob!.chat(dave.id, "when you are back");
      const davesNext = open.use(await login(cluster.node(1), { id: dave.id }));
      assertEquals((await davesNext.next(Msg.ONE_CHAT)).msg, "when you are back");
      assertEquals((await bob!.next((m) => m.msgid === Msg.PRESENCE && m.id === dave.id)).state, "online");
    });
    // The node has joined again.
    const erin = open.use(await newUser(cluster.node(0)));
    await erin.chat(bob!.id, "from the node that was dead");
    assertEquals((await bob!.next(Msg.ONE_CHAT)).msg, "from the node that was dead");
  },
);

/** Returns the state of a friend in the last PRESENCE that the test has not taken. */
async function lastTold(user: FramedClient, friend: FramedClient): Promise<string | undefined> {
  await user.settle();
  return user.waiting.findLast((m) => m.msgid === Msg.PRESENCE && m.id === friend.id)?.state;
}

test(
  "node failure: kill -9 with messages in flight loses none acknowledged and duplicates none resent",
  async (cluster, open) => {
    const [alice, bob, carol] = await cluster.usersApart(open);
    const groupid = await newGroup(bob!, [alice!, carol!]);
    const acks = new Map<string, Received>();
    const messages = Array.from({ length: MESSAGES }, (_, at) => ({
      ...(at % 2 ? { msgid: Msg.GROUP_CHAT, groupid } : { msgid: Msg.ONE_CHAT, toid: bob!.id }),
      msg: `${at}`,
      cid: `${alice!.id} ${at}`,
    }));
    /** Sends unacknowledged messages in order until all are acknowledged or the node has ended. */
    const send = async (from: FramedClient) => {
      const left = messages.filter(({ cid }) => !acks.has(cid)).values();
      await Promise.all(Array.from({ length: MAX_IN_FLIGHT }, async () => {
        for (const message of left) {
          const ack = await from.request(message).catch(() => undefined);
          if (!ack) return;
          assertEquals(ack.errno, Errno.OK, ack.errmsg);
          acks.set(message.cid, ack);
        }
      }));
    };
    const sending = send(alice!);
    await until(() => acks.size >= ACKS_BEFORE_KILL, `${ACKS_BEFORE_KILL} acknowledgements`);
    await without(cluster.node(0), async () => {
      await sending;
      assertLess(acks.size, MESSAGES, "the node ended while messages were in flight");
      const again = open.use(await login(cluster.node(2), { token: alice!.token }));
      await send(again);
      assertEquals(acks.size, MESSAGES);
      for (
        const [user, kind, count] of [
          [bob!, Msg.ONE_CHAT, MESSAGES / 2],
          [bob!, Msg.GROUP_CHAT, MESSAGES / 2],
          [carol!, Msg.GROUP_CHAT, MESSAGES / 2],
        ] as const
      ) {
        const got = await user.take(count, kind);
        assertEquals(got.map(({ seq }) => seq), got.map((_, at) => at + 1), "no gap, and in order");
        for (const { cid, seq } of got) assertEquals(acks.get(cid!)?.seq, seq, `${cid} as acknowledged`);
        assertEquals(new Set(got.map(({ cid }) => cid)).size, count);
      }
      for (const user of [bob!, carol!]) {
        await user.settle();
        assertEquals(user.waiting.filter(({ cid }) => cid !== undefined), [], "no message arrived twice");
      }
    });
  },
);

test(
  "node failure: I8 sessions replaced during SIGSTOP of their node stay replaced after SIGCONT",
  async (cluster, open) => {
    const [alice, bob] = await cluster.usersApart(open);
    const carol = open.use(await newUser(cluster.node(0)));
    await befriend(bob!, alice!);
    const told = () => bob!.waiting.filter((m) => m.msgid === Msg.PRESENCE);
    const next = open.use(await FramedClient.connect(cluster.node(1)));
    const carolsNext = open.use(await FramedClient.connect(cluster.node(2)));
    {
      using _ = stopped(cluster.node(0));
      const refused = await next.request({ msgid: Msg.LOGIN, id: alice!.id, password: PASSWORD });
      assertEquals(refused.errno, Errno.ALREADY_ONLINE, "the node may only be slow");
      await next.login({ id: alice!.id }, { force: true });
      await carolsNext.login({ token: carol.token });
      for (let seq = 1; seq <= 3; seq++) {
        assertEquals((await bob!.chat(alice!.id, `m${seq}`)).seq, seq);
        assertEquals((await next.next(Msg.ONE_CHAT)).seq, seq);
        await next.delivered({ id: bob!.id }, seq);
      }
      // The node reads it after SIGCONT, perhaps before the hint of the new login. It must not end the new
      // session.
      await alice!.send({ msgid: Msg.LOGOUT });
    }
    let isOver = false;
    void alice!.closed.then(() => isOver = true);
    await until(
      () => isOver || alice!.waiting.some(({ of }) => of === Msg.LOGOUT),
      "the end of the frozen session",
    );
    await carol.serverCloses();
    await bob!.chat(alice!.id, "m4");
    assertEquals((await next.next(Msg.ONE_CHAT)).seq, 4);
    await next.chat(bob!.id, "still here");
    assertEquals((await bob!.next(Msg.ONE_CHAT)).msg, "still here");
    await carolsNext.settle();
    assertEquals(await Promise.all([alice!, carol, bob!].map(({ id }) => cluster.state(id))), [
      "online",
      "online",
      "online",
    ]);
    const { friends } = await bob!.succeed({ msgid: Msg.CONTACTS });
    assertEquals(friends!.map(({ state }) => state), ["online"]);
    assertEquals(told(), [], "friends have noticed nothing");
    assertEquals(next.waiting, []);
    // The token belongs to the new session now, and is valid.
    const third = open.use(await FramedClient.connect(cluster.node(0)));
    await third.login({ token: carol.token });
    await carolsNext.serverCloses();
  },
);
