/** The tests that every kind of cluster must pass. A file for each kind defines them. */
import { assert, assertEquals } from "@std/assert";
import { ClassicClient } from "../harness/classic_client.ts";
import { type ClusterOptions, type ClusterWork, sharedCluster } from "../harness/cluster.ts";
import { Errno, Msg, type Received } from "../harness/protocol_numbers.ts";
import { FramedClient, login, newGroup, PASSWORD } from "../harness/framed_client.ts";
import { until } from "../harness/wait.ts";
import { LOGINS, raceForAccounts, raceToTakeOver, TAKEOVERS } from "./one_session_per_account.ts";
import { assertOrderedDelivery } from "./ordered_delivery.ts";

/**
 * Milliseconds for the effect of a hint: far less than the half minute after which nodes reconcile without
 * one.
 */
const HINT_TIMEOUT_MS = 10_000;

/** Defines the tests with one cluster for all of them. */
export function clusterContractTests(name: string, options: ClusterOptions): void {
  const shared = sharedCluster(options);
  const test = (what: string, work: ClusterWork) => shared(`${name}: ${what}`, work);

  test("delivers chat, history and backlog across nodes", async (cluster, open) => {
    const [alice, bob] = await cluster.usersApart(open);
    for (let seq = 1; seq <= 4; seq++) {
      const [from, to] = seq % 2 ? [alice!, bob!] : [bob!, alice!];
      const ack = await from.chat(to.id, `m${seq}`, `c${seq}`);
      assertEquals([ack.errno, ack.seq], [Errno.OK, seq]);
      const got = await to.next(Msg.ONE_CHAT, HINT_TIMEOUT_MS);
      const { id, name, toid, msg, time, cid } = got;
      assertEquals(
        { id, name, toid, msg, time, cid, seq: got.seq },
        { id: from.id, name: from.name, toid: to.id, msg: `m${seq}`, time: ack.time, cid: `c${seq}`, seq },
      );
      await to.delivered({ id: from.id }, seq);
    }
    const histories = await Promise.all([[alice!, bob!], [bob!, alice!]].map(async ([one, other]) => {
      const { messages } = await one!.succeed({ msgid: Msg.HISTORY, id: other!.id });
      return messages!.map(({ seq, msg, id }) => [seq, msg, id]);
    }));
    assertEquals(histories[0], histories[1]);
    assertEquals(histories[0]!.map(([seq]) => seq), [1, 2, 3, 4]);

    // Bob is offline, and then logs in on another node.
    await cluster.hasAll(bob!.id);
    await bob!.close();
    for (let seq = 5; seq <= 7; seq++) await alice!.chat(bob!.id, `m${seq}`);
    await using again = await login(cluster.node(0), { id: bob!.id });
    assertEquals((await again.take(3, Msg.ONE_CHAT)).map(({ seq, msg }) => [seq, msg]), [
      [5, "m5"],
      [6, "m6"],
      [7, "m7"],
    ]);
    await again.delivered({ id: alice!.id }, 7);
    await cluster.hasAll(bob!.id);
    await again.close();
    await using third = await login(cluster.node(1), { id: bob!.id });
    await third.settle();
    assertEquals(third.drain(), [], "no message that was delivered on another node is repeated");
  });

  test("shares groups, members and group chat across nodes", async (cluster, open) => {
    const users = await cluster.usersApart(open);
    const [alice, ...others] = users;
    const groupid = await newGroup(alice!, others);
    for (const [at, sender] of users.entries()) {
      assertEquals((await sender.groupChat(groupid, `from ${at}`)).seq, at + 1);
      for (const other of users.filter((user) => user !== sender)) {
        const { seq, msg, id } = await other.next(Msg.GROUP_CHAT, HINT_TIMEOUT_MS);
        assertEquals([seq, msg, id], [at + 1, `from ${at}`, sender.id]);
      }
    }
    const expected = users.map(({ id, name }, at) => ({
      ...{ id, name, state: "online" },
      role: at === 0 ? "creator" : "normal",
    }));
    const byId = <T extends { id: number }>(list: readonly T[]) => list.toSorted((a, b) => a.id - b.id);
    for (const user of users) {
      const { users: members } = await user.succeed({ msgid: Msg.MEMBERS, groupid });
      assertEquals(byId(members!), byId(expected));
      const { groups } = await user.succeed({ msgid: Msg.CONTACTS });
      assertEquals([groups!.length, groups![0]!.members], [1, users.length]);
      assertEquals(byId(groups![0]!.users), byId(expected));
    }
    await others[0]!.close();
    await alice!.groupChat(groupid, "while one is offline");
    await using again = await login(cluster.node(0), { id: others[0]!.id });
    const last = await again.next(
      (m) => m.msgid === Msg.GROUP_CHAT && m.msg === "while one is offline",
      HINT_TIMEOUT_MS,
    );
    assertEquals(last.seq, users.length + 1);
  });

  test("shows logins and logouts across nodes, as User.state does", async (cluster, open) => {
    const [alice, bob] = await cluster.usersApart(open);
    await alice!.succeed({ msgid: Msg.ADD_FRIEND, friendid: bob!.id });
    const shown = async () => (await alice!.succeed({ msgid: Msg.CONTACTS })).friends![0]!.state;
    const told = async (state: string) => {
      const presence = await alice!.next(Msg.PRESENCE, HINT_TIMEOUT_MS);
      assertEquals([presence.id, presence.state], [bob!.id, state]);
      assertEquals(await shown(), state);
      await until(async () => await cluster.state(bob!.id) === state, `User.state ${state}`);
    };
    assertEquals([await shown(), await cluster.state(bob!.id)], ["online", "online"]);
    await bob!.close();
    await told("offline");
    for (const at of cluster.nodes.keys()) {
      await using again = await login(cluster.node(at), { id: bob!.id });
      await told("online");
      if (at % 2) await again.succeed({ msgid: Msg.LOGOUT });
      else await again.close();
      await told("offline");
    }
    await alice!.settle();
    assertEquals(alice!.drain(), [], "nothing is sent twice");
  });

  test("moves an account to another node without telling its friends", async (cluster, open) => {
    const [alice, bob] = await cluster.usersApart(open);
    await alice!.succeed({ msgid: Msg.ADD_FRIEND, friendid: bob!.id });
    let last = bob!;
    for (const [seq, by] of (["force", "token", "force", "token"] as const).entries()) {
      const next = open.use(await FramedClient.connect(cluster.node(seq % 2)));
      const refused = await next.request({ msgid: Msg.LOGIN, id: bob!.id, password: PASSWORD });
      assertEquals(refused.errno, Errno.ALREADY_ONLINE);
      if (by === "token") await next.login({ token: last.token });
      else await next.login({ id: bob!.id }, { force: true });
      assertEquals((await last.next(Msg.NOTICE, HINT_TIMEOUT_MS)).kind, "kicked");
      await last.serverCloses();
      await alice!.chat(bob!.id, `after ${seq} by ${by}`);
      const got = await next.next(Msg.ONE_CHAT, HINT_TIMEOUT_MS);
      assertEquals([got.seq, got.msg], [seq + 1, `after ${seq} by ${by}`]);
      await next.delivered({ id: alice!.id }, seq + 1);
      assertEquals(await cluster.state(bob!.id), "online");
      last = next;
    }
    await alice!.settle();
    assertEquals(alice!.drain(), []);
  });

  test("serves a classic client through nginx", async (cluster, open) => {
    const [alice, bob] = await cluster.usersApart(open);
    const groupid = await newGroup(alice!, [bob!]);
    await bob!.close();
    await alice!.chat(bob!.id, "missed");
    await using classic = await ClassicClient.connect(cluster.nginx);
    const welcome = await classic.enter(bob!.id);
    assertEquals(welcome.offlinemsg!.map((text) => (JSON.parse(text) as Received).msg), ["missed"]);
    await alice!.chat(bob!.id, "hello");
    assertEquals((await classic.next(Msg.ONE_CHAT, HINT_TIMEOUT_MS)).msg, "hello");
    await classic.chat(alice!.id, "hello yourself");
    assertEquals((await alice!.next(Msg.ONE_CHAT, HINT_TIMEOUT_MS)).msg, "hello yourself");
    await alice!.groupChat(groupid, "hello all");
    assertEquals((await classic.next(Msg.GROUP_CHAT, HINT_TIMEOUT_MS)).msg, "hello all");
    await classic.groupChat(groupid, "hello you");
    assertEquals((await alice!.next(Msg.GROUP_CHAT, HINT_TIMEOUT_MS)).msg, "hello you");
  });

  test("sends neither passwords nor tokens through Redis", async (cluster, open) => {
    const [alice, bob] = await cluster.usersApart(open);
    const monitor = await Deno.connect({ hostname: "127.0.0.1", port: cluster.redis.port });
    const seen: string[] = [];
    const watching = (async () => {
      await monitor.write(new TextEncoder().encode("MONITOR\r\n"));
      const decoder = new TextDecoder();
      for await (const chunk of monitor.readable) seen.push(decoder.decode(chunk, { stream: true }));
    })();
    await until(() => seen.length > 0, "Redis to tell what it is told");
    const password = "pw-58c1e0d7";
    await using carol = await FramedClient.connect(cluster.nginx);
    const id = await carol.register("carol of Redis", password);
    await carol.request({ msgid: Msg.LOGIN, id, password: "wrong-20ab94" });
    const { token } = await carol.succeed({ msgid: Msg.LOGIN, id, password });
    await using again = await FramedClient.connect(cluster.nginx);
    await again.login({ token: token! });
    await alice!.chat(bob!.id, "the last of it");
    await bob!.next(Msg.ONE_CHAT, HINT_TIMEOUT_MS);
    await cluster.redis.command("ECHO", "that was all");
    await until(() => seen.join("").includes("that was all"), "what was said before as well");
    monitor.close();
    await watching.catch(() => {});
    const told = seen.join("");
    // Of a Redis Cluster one master is monitored; its traffic differs in each run.
    if (options.redis !== "cluster") assert(told.includes("the last of it"), "messages do");
    for (const secret of [password, "wrong-20ab94", token!, token!.split(".")[1]!]) {
      assert(!told.includes(secret), secret);
    }
  });

  test(
    "delivers many messages in flight of many pairs in order, none lost or duplicated",
    assertOrderedDelivery,
  );
  test(`gives the account to one of several concurrent logins, ${LOGINS} times`, raceForAccounts);
  for (const by of ["force", "token"] as const) {
    test(
      `leaves the last of several concurrent logins by ${by}, ${TAKEOVERS} times`,
      (cluster, open) => raceToTakeOver(cluster, open, by),
    );
  }
}
