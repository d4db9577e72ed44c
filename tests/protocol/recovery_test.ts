/** Nodes in this process whose bus is unavailable for a while, or one of which crashes. */
import { assert, assertEquals } from "@std/assert";
import type { Bus, BusListener } from "../../lib/bus/bus.ts";
import type { Store } from "../../lib/store/store.ts";
import { Errno, Msg } from "../harness/protocol_numbers.ts";
import { FramedClient, login, newGroup, newUser, PASSWORD, register } from "../harness/framed_client.ts";
import { withNodes, wrapped } from "../harness/nodes.ts";
import { Outage } from "../harness/outage.ts";
import { pause, until, within } from "../harness/wait.ts";

/**
 * Milliseconds for the effect of an outage's end: less than the half minute after which nodes reconcile
 * anyway.
 */
const RECOVERY_TIMEOUT_MS = 10_000;

Deno.test("recovery: delivers messages through the store in order while the bus is unavailable", async () => {
  const outage = new Outage();
  await withNodes(2, async (a, b) => {
    await using alice = await newUser(a!);
    await using bob = await newUser(b!);
    const groupid = await newGroup(alice, [bob]);
    await alice.chat(bob.id, "before");
    await bob.next(Msg.ONE_CHAT);
    outage.begin();
    for (const msg of ["one", "two"]) assertEquals((await alice.chat(bob.id, msg)).errno, Errno.OK);
    await alice.groupChat(groupid, "all");
    assertEquals((await bob.take(2, Msg.ONE_CHAT)).map(({ seq, msg }) => [seq, msg]), [[2, "one"], [
      3,
      "two",
    ]]);
    assertEquals((await bob.next(Msg.GROUP_CHAT)).msg, "all");
    outage.end();
    await alice.chat(bob.id, "after");
    assertEquals((await bob.next(Msg.ONE_CHAT)).seq, 4);
  }, outage);
});

Deno.test("recovery: finds a message that was sent just before the bus recovered", async () => {
  const outage = new Outage();
  await withNodes(2, async (a, b) => {
    await using alice = await newUser(a!);
    await using bob = await newUser(b!);
    outage.begin();
    await alice.chat(bob.id, "lost");
    outage.end();
    assertEquals((await bob.next(Msg.ONE_CHAT, RECOVERY_TIMEOUT_MS)).msg, "lost");
  }, outage);
});

Deno.test("recovery: leaves an account one session while the bus is unavailable", async () => {
  const outage = new Outage();
  await withNodes(2, async (a, b) => {
    const id = await register(a!);
    await using first = await login(a!, { id });
    outage.begin();
    await using second = await FramedClient.connect(b!);
    const refused = await second.request({ msgid: Msg.LOGIN, id, password: PASSWORD });
    assertEquals(refused.errno, Errno.ALREADY_ONLINE);
    await second.login({ id }, { force: true });
    assertEquals((await first.next(Msg.NOTICE)).kind, "kicked");
    await first.serverCloses();
    await using third = await FramedClient.connect(a!);
    await third.login({ token: second.token });
    assertEquals((await second.next(Msg.NOTICE)).kind, "kicked");
    await third.succeed({ msgid: Msg.LOGOUT });
    await using fourth = await login(b!, { id }); // the store shows that no session has the account
    outage.end();
    await fourth.settle();
  }, outage);
});

Deno.test("recovery: accepts a login right after the logout while the bus is unavailable", async () => {
  const outage = new Outage();
  await withNodes(1, async (node) => {
    const id = await register(node!);
    outage.begin();
    for (let round = 0; round < 3; round++) {
      await using user = await FramedClient.connect(node!);
      await user.succeed({ msgid: Msg.LOGIN, id, password: PASSWORD });
      await user.succeed({ msgid: Msg.LOGOUT });
      await user.succeed({ msgid: Msg.LOGIN, id, password: PASSWORD });
      await user.succeed({ msgid: Msg.LOGOUT });
    }
  }, outage);
});

Deno.test("recovery: sends presence changes of an outage of the bus once, afterwards", async () => {
  const outage = new Outage();
  await withNodes(2, async (a, b) => {
    await using alice = await newUser(a!);
    const [stays, goes, comes] = [await newUser(b!), await newUser(b!), await register(b!)];
    for (const friendid of [stays.id, goes.id, comes]) {
      await alice.succeed({ msgid: Msg.ADD_FRIEND, friendid });
    }
    outage.begin();
    await goes.close();
    await using came = await login(b!, { id: comes });
    await alice.settle();
    assertEquals(alice.drain(), []);
    outage.end();
    const told = await alice.take(2, Msg.PRESENCE);
    assertEquals(
      told.map(({ id, state }) => [id, state]).sort(),
      [[goes.id, "offline"], [came.id, "online"]].sort(),
    );
    await stays.close();
    assertEquals((await alice.next(Msg.PRESENCE)).id, stays.id);
    assertEquals(alice.drain(), []);
  }, outage);
});

Deno.test("recovery: shows the users of a crashed node as offline, also in the store", async () => {
  let store: Store | undefined;
  const buses: Bus[] = [];
  const between = {
    bus: (bus: Bus) => buses[buses.push(bus) - 1]!,
    store: (real: Store) => store = real,
  };
  await withNodes(2, async (a, b) => {
    await using alice = await newUser(a!);
    await using bob = await newUser(b!);
    await alice.succeed({ msgid: Msg.ADD_FRIEND, friendid: bob.id });
    await buses[1]!.close(); // as after the end of a killed node
    const { id, state } = await alice.next(Msg.PRESENCE);
    assertEquals([id, state], [bob.id, "offline"]);
    await until(async () => !(await store!.findUser({ id: bob.id }))!.online, "bob offline in the store");
    assert((await store!.findUser({ id: alice.id }))!.online);
    await using again = await login(a!, { id: bob.id });
    assertEquals((await alice.next(Msg.PRESENCE)).state, "online");
    await again.settle();
  }, between);
});

const UNPROMPTED_MS = 15_000; // less than the interval of unprompted reconciliations

Deno.test("recovery: delivers a message whose hint was lost when its sender repeats it", async () => {
  let losing = true;
  const bus = (bus: Bus) => wrapped(bus, (name, go) => name === "publish" && losing ? undefined : go());
  await withNodes(2, async (a, b) => {
    await using alice = await newUser(a!);
    await using bob = await newUser(b!);
    const groupid = await newGroup(alice, [bob]);
    await alice.chat(bob.id, "one", "cid-1");
    await alice.groupChat(groupid, "all", "cid-2");
    losing = false;
    assertEquals((await alice.chat(bob.id, "another text", "cid-1")).seq, 1);
    assertEquals((await bob.next(Msg.ONE_CHAT, UNPROMPTED_MS)).msg, "one");
    assertEquals((await alice.groupChat(groupid, "", "cid-2")).errno, Errno.BAD_REQUEST);
    assertEquals((await alice.groupChat(groupid, "all", "cid-2")).seq, 1);
    assertEquals((await bob.next(Msg.GROUP_CHAT, UNPROMPTED_MS)).msg, "all");
    await alice.chat(bob.id, "one", "cid-1");
    await alice.settle();
    await bob.settle();
    assertEquals([alice.drain(), bob.drain()], [[], []], "no user is informed twice");
  }, { bus });
});

Deno.test("recovery: finds messages without hints when a node joins, and while one is silent", async () => {
  let losing = false;
  const listeners: BusListener[] = [];
  const bus = (bus: Bus) =>
    wrapped(bus, (name, go, args) => {
      if (name === "open") listeners.push(args[0] as BusListener);
      return name === "publish" && losing ? undefined : go();
    });
  await withNodes(2, async (a, b) => {
    await using alice = await newUser(a!);
    await using bob = await newUser(b!);
    const next = async () => (await within(bob.next(Msg.ONE_CHAT), "the message", UNPROMPTED_MS)).msg;
    const friend = await register(b!);
    await alice.succeed({ msgid: Msg.ADD_FRIEND, friendid: friend });
    losing = true;
    await alice.chat(bob.id, "before it came");
    await using _friend = await login(b!, { id: friend });
    assertEquals(alice.drain(), []);
    for (const listener of listeners) listener.onNodeJoined();
    assertEquals(await next(), "before it came");
    const { id, state } = await within(alice.next(Msg.PRESENCE), "the friend's coming", UNPROMPTED_MS);
    assertEquals([id, state], [friend, "online"]);
    await alice.chat(bob.id, "before it was silent");
    for (const listener of listeners) listener.onSilenceChange(true);
    assertEquals(await next(), "before it was silent");
    await alice.chat(bob.id, "while it is silent");
    assertEquals(await next(), "while it is silent");
    await using later = await FramedClient.connect(a!);
    await later.login({ id: bob.id }, { force: true });
    await within(bob.next(Msg.NOTICE), "the end of the session that was taken over", UNPROMPTED_MS);
    await later.settle();
    for (const listener of listeners) listener.onSilenceChange(false);
  }, { bus });
});

/** Milliseconds between two polls of the store while the bus is unavailable. */
const POLL_INTERVAL_MS = 1_000;

/** Counts the calls of a node to its store. */
class CountingStore {
  polls = 0;
  reclaims = 0;
  #store: Store | undefined;

  /** The store of the node, whose direct calls are not counted. */
  get real(): Store {
    return this.#store!;
  }

  readonly wrap = (real: Store): Store =>
    wrapped(this.#store = real, (name, go) => {
      if (name === "usersWithUnread") this.polls++;
      if (name === "reclaimAccounts") this.reclaims++;
      return go();
    });
}

Deno.test("recovery: a logout is in the store before its reply while the bus is unavailable", async () => {
  const outage = new Outage();
  const counts = new CountingStore();
  await withNodes(2, async (a, b) => {
    await using alice = await newUser(a!);
    outage.begin();
    await alice.request({ msgid: Msg.LOGOUT });
    assertEquals((await counts.real.findUser({ id: alice.id }))!.online, false);
    await using _again = await login(b!, { id: alice.id }); // else "in use"
  }, { bus: outage.bus, store: counts.wrap });
});

Deno.test("recovery: resumes logins when the bus recovers, and then stops polling", async () => {
  const outage = new Outage();
  const counts = new CountingStore();
  await withNodes(1, async (node) => {
    await using alice = await newUser(node!);
    const isOnline = async () => (await counts.real.findUser({ id: alice.id }))!.online;
    outage.begin();
    // by another node, which considers this one gone
    await counts.real.releaseAccounts([{ user: alice.id, loginEpoch: 1 }]);
    const before = counts.polls;
    await until(() => counts.polls >= before + 2, "two polls while the bus is unavailable");
    assertEquals([counts.reclaims, await isOnline()], [0, false]);
    outage.end();
    await until(isOnline, "alice online in the store");
    const after = counts.polls;
    await pause(5 * POLL_INTERVAL_MS);
    assert(counts.polls <= after + 2, `${counts.polls - after} polls`); // one may be the periodic one
  }, { bus: outage.bus, store: counts.wrap });
});

Deno.test("recovery: resumes logins once when the bus recovers while another node is silent", async () => {
  const outage = new Outage();
  const listeners: BusListener[] = [];
  const counts = new CountingStore();
  const between = {
    bus: (bus: Bus) =>
      wrapped(outage.bus(bus), (name, go, args) => {
        if (name === "open") listeners.push(args[0] as BusListener);
        return go();
      }),
    store: counts.wrap,
  };
  await withNodes(1, async (node) => {
    await using alice = await newUser(node!);
    outage.begin();
    // by another node, which considers this one gone
    await counts.real.releaseAccounts([{ user: alice.id, loginEpoch: 1 }]);
    const begun = counts.polls;
    for (const listener of listeners) listener.onSilenceChange(true);
    await until(() => counts.polls >= begun + 2, "polls while the bus is unavailable");
    assertEquals(counts.reclaims, 0, "another node would end them again");
    outage.end();
    await until(
      async () => (await counts.real.findUser({ id: alice.id }))!.online,
      "alice online in the store",
    );
    const { polls, reclaims } = counts;
    await until(() => counts.polls >= polls + 4, "polls while the other node is silent");
    // One more may be the periodic one.
    assert(
      counts.reclaims <= reclaims + 1,
      `${counts.reclaims - reclaims} reclaims in ${counts.polls - polls} polls`,
    );
  }, between);
});

Deno.test("recovery: repeats a state by PRESENCE after CONTACTS has shown it first", async () => {
  const outage = new Outage();
  await withNodes(2, async (a, b) => {
    await using alice = await newUser(a!);
    const bob = await newUser(b!);
    await alice.succeed({ msgid: Msg.ADD_FRIEND, friendid: bob.id });
    outage.begin();
    const { friends } = await alice.succeed({ msgid: Msg.CONTACTS }); // users of this node only
    assertEquals(friends!.map(({ state }) => state), ["offline"]);
    assertEquals((await alice.next(Msg.PRESENCE)).state, "offline");
    outage.end();
    assertEquals((await alice.next(Msg.PRESENCE)).state, "online");
    await alice.succeed({ msgid: Msg.CONTACTS });
    await alice.settle();
    assertEquals(alice.drain(), [], "no PRESENCE without a change");
    await bob.close();
    assertEquals((await alice.next(Msg.PRESENCE)).state, "offline");
  }, outage);
});
