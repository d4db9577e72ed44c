/** The behaviour while Redis or MySQL is unavailable, and afterwards without a restart of a node. */
import { assert, assertEquals, assertLess } from "@std/assert";
import { clusterTest, type ClusterWork } from "../harness/cluster.ts";
import { Errno, Msg, type Received } from "../harness/protocol_numbers.ts";
import { FramedClient, login, newGroup, newUser, PASSWORD, register } from "../harness/framed_client.ts";
import { pause, until } from "../harness/wait.ts";

const EFFECT_TIMEOUT_MS = 4_000; // ms for events that take up to a second on an idle machine
const OUTAGE_MS = 4_000; // ms, the least duration of an outage
const MESSAGES = 300; // of one sender: before, during and after the outage of MySQL
const MAX_IN_FLIGHT = 16; // of them in flight
const ACKS_BEFORE_STOP = 100; // acknowledgements
const RETRY_MS = 50; // ms before a message is sent again

/** Defines a test with a cluster of its own, as a test may restart only processes that it has started. */
const test = (name: string, work: ClusterWork) => clusterTest(name, { nodes: 2 }, work);

/**
 * Sends a message and waits for its delivery. Returns the milliseconds from the acknowledgement to the
 * delivery.
 */
async function say(from: FramedClient, to: FramedClient, msg: string): Promise<number> {
  const ack = await from.chat(to.id, msg);
  assertEquals(ack.errno, Errno.OK, ack.errmsg);
  const acked = performance.now();
  const got = await to.next((m) => m.msgid === Msg.ONE_CHAT && m.msg === msg);
  assertEquals([got.seq, got.id], [ack.seq, from.id]);
  return performance.now() - acked;
}

test(
  "outage: chat and logins go on while Redis is stopped, and recover when it starts empty",
  async (cluster, open) => {
    const [alice, bob] = await cluster.usersApart(open);
    const [carol, erin] = await cluster.usersApart(open);
    const comes = await register(cluster.nginx); // while Redis is unavailable
    const goes = open.use(await newUser(cluster.node(1)));
    const later = await register(cluster.nginx);
    const groupid = await newGroup(alice!, [bob!]);
    for (const friendid of [bob!.id, comes, goes.id, later]) {
      await alice!.succeed({ msgid: Msg.ADD_FRIEND, friendid });
    }
    await say(alice!, bob!, "before");

    await cluster.redis.stop();
    const began = performance.now();
    try {
      for (let round = 1; round <= 3; round++) {
        const took = await Promise.all([
          say(alice!, bob!, `outage ${round}`),
          say(bob!, alice!, `outage ${round}, back`),
        ]);
        for (const ms of took) assertLess(ms, EFFECT_TIMEOUT_MS);
      }
      await alice!.groupChat(groupid, "to all");
      assertEquals((await bob!.next(Msg.GROUP_CHAT, EFFECT_TIMEOUT_MS)).msg, "to all");
      // Logins of a new user, of a user with a session elsewhere, and by token.
      const dave = open.use(await newUser(cluster.node(0)));
      assertLess(await say(dave, bob!, "a new user"), EFFECT_TIMEOUT_MS);
      const carolsNext = open.use(await FramedClient.connect(cluster.node(1)));
      const refused = await carolsNext.request({ msgid: Msg.LOGIN, id: carol!.id, password: PASSWORD });
      assertEquals(refused.errno, Errno.ALREADY_ONLINE);
      await carolsNext.login({ id: carol!.id }, { force: true });
      await carol!.serverCloses(EFFECT_TIMEOUT_MS);
      const erinsNext = open.use(await FramedClient.connect(cluster.node(0)));
      await erinsNext.login({ token: erin!.token });
      await erin!.serverCloses(EFFECT_TIMEOUT_MS);
      assertLess(await say(erinsNext, carolsNext, "we have moved"), EFFECT_TIMEOUT_MS);
      open.use(await login(cluster.node(1), { id: comes }));
      await goes.succeed({ msgid: Msg.LOGOUT });
      await pause(Math.max(0, began + OUTAGE_MS - performance.now()));
    } finally {
      await cluster.redis.start();
    }

    // When both nodes have found Redis again, they send the presence changes of the outage.
    for (const [user, state] of [[comes, "online"], [goes.id, "offline"]] as const) {
      assertEquals((await alice!.next((m) => m.msgid === Msg.PRESENCE && m.id === user)).state, state);
    }
    // Presence, hints and takeovers between the two nodes.
    const present = open.use(await login(cluster.node(1), { id: later }));
    const told = await alice!.next((m) => m.msgid === Msg.PRESENCE && m.id === later, EFFECT_TIMEOUT_MS);
    assertEquals(told.state, "online");
    assertLess(await say(alice!, present, "hello"), EFFECT_TIMEOUT_MS);
    assertLess(await say(present, alice!, "hello yourself"), EFFECT_TIMEOUT_MS);
    const taken = open.use(await FramedClient.connect(cluster.node(0)));
    await taken.login({ id: later }, { force: true });
    assertEquals((await present.next(Msg.NOTICE)).kind, "kicked");
    await taken.close();
    const gone = await alice!.next((m) => m.msgid === Msg.PRESENCE && m.id === later, EFFECT_TIMEOUT_MS);
    assertEquals(gone.state, "offline");
    await until(async () => await cluster.state(later) === "offline", "User.state offline");
    const { friends } = await alice!.succeed({ msgid: Msg.CONTACTS });
    const states = new Map(friends!.map(({ id, state }) => [id, state]));
    assertEquals([bob!.id, comes, goes.id, later].map((id) => states.get(id)), [
      ...["online", "online"],
      ...["offline", "offline"],
    ]);
  },
);

test(
  "outage: refuses messages while MySQL is stopped, and loses or duplicates none acknowledged",
  async (cluster, open) => {
    const [alice, bob] = await cluster.usersApart(open);
    const acks = new Map<string, Received>();
    const refusals: Received[] = [];
    const texts = Array.from({ length: MESSAGES }, (_, at) => `${at}`).values();
    const sending = Promise.all(Array.from({ length: MAX_IN_FLIGHT }, async () => {
      for (const text of texts) {
        for (;;) {
          const reply = await alice!.chat(bob!.id, text, text);
          if (reply.errno === Errno.OK) {
            acks.set(text, reply);
            break;
          }
          refusals.push(reply);
          await pause(RETRY_MS);
        }
      }
    }));
    await until(() => acks.size >= ACKS_BEFORE_STOP, `${ACKS_BEFORE_STOP} acknowledgements`);
    cluster.mariadb.kill("SIGKILL");
    await cluster.mariadb.wait();
    const began = performance.now();
    try {
      await until(() => refusals.length > MAX_IN_FLIGHT, "refusals");
      for (const { errno, retry_after } of refusals) {
        assertEquals(errno, Errno.UNAVAILABLE);
        assertLess(0, retry_after!);
      }
      await bob!.settle();
      const newcomer = open.use(await FramedClient.connect(cluster.node(1)));
      const refused = await newcomer.request({
        msgid: Msg.LOGIN,
        id: bob!.id,
        password: PASSWORD,
        force: true,
      });
      assertEquals(refused.errno, Errno.UNAVAILABLE);
      assertLess(0, refused.retry_after!);
      await pause(Math.max(0, began + OUTAGE_MS - performance.now()));
      assertLess(acks.size, MESSAGES, "the server stopped while messages were in flight");
    } finally {
      await cluster.mariadb.start();
    }
    await sending;
    const got = await bob!.take(MESSAGES, Msg.ONE_CHAT);
    assertEquals(got.map(({ seq }) => seq), got.map((_, at) => at + 1), "no gap, and in order");
    for (const { cid, seq } of got) assertEquals(acks.get(cid!)?.seq, seq, `${cid} as acknowledged`);
    assertEquals(new Set(got.map(({ cid }) => cid)).size, MESSAGES);
    await bob!.settle();
    assertEquals(bob!.waiting.filter(({ msgid }) => msgid === Msg.ONE_CHAT), [], "no message arrived twice");

    // Both users are still connected, and new users can log in.
    assert([alice!, bob!].every(({ waiting }) => waiting.every(({ msgid }) => msgid !== Msg.NOTICE)));
    assertLess(await say(bob!, alice!, "and back"), EFFECT_TIMEOUT_MS);
    const newcomer = open.use(await newUser(cluster.nginx));
    assertLess(await say(newcomer, bob!, "a new user"), EFFECT_TIMEOUT_MS);
  },
);

test(
  "outage: nodes agree when they find an emptied Redis one after the other",
  async (cluster, open) => {
    const [alice, bob] = await cluster.usersApart(open);
    await alice!.succeed({ msgid: Msg.ADD_FRIEND, friendid: bob!.id });
    await bob!.succeed({ msgid: Msg.ADD_FRIEND, friendid: alice!.id });
    const size = cluster.node(0).logSize;
    await cluster.redis.stop();
    await say(alice!, bob!, "during the outage"); // the nodes notice the outage
    cluster.node(1).kill("SIGSTOP");
    try {
      await cluster.redis.start();
      await until(
        () => cluster.node(0).log(size).includes("connected to the other nodes again"),
        "the first node",
      );
      await pause(OUTAGE_MS); // in which the first node recovers as if it were alone
    } finally {
      cluster.node(1).kill("SIGCONT");
    }
    await bob!.settle();
    for (const [one, other] of [[alice!, bob!], [bob!, alice!]] as const) {
      await until(async () => {
        await one.settle();
        const last = one.waiting.findLast(({ msgid }) => msgid === Msg.PRESENCE);
        return (last?.state ?? "online") === "online" && await cluster.state(other.id) === "online";
      }, `${other.name} to be shown as online, to friends and to operators`);
      const { friends } = await one.succeed({ msgid: Msg.CONTACTS });
      assertEquals(friends!.map(({ state }) => state), ["online"]);
      assertLess(await say(one, other, "as before"), EFFECT_TIMEOUT_MS);
    }
  },
);
