/** Outages of the bus, and crashes of nodes, with nodes in this process. */
import { assert, assertEquals } from "@std/assert";
import type { Bus, BusListener } from "../../lib/bus/bus.ts";
import { type Store, StoreUnavailableError } from "../../lib/store/store.ts";
import { Errno, Msg } from "../harness/protocol_numbers.ts";
import { FramedClient, login, newGroup, newUser, PASSWORD, register } from "../harness/framed_client.ts";
import { withNodes, wrapped } from "../harness/nodes.ts";
import { Outage } from "../harness/outage.ts";
import { pause, until, within } from "../harness/wait.ts";

/** Milliseconds until nodes have recovered: less than the half minute of their periodic reconciliation. */
const SOON = 10_000;

Deno.test("recovery: delivers messages through the store, in order, while the bus is down", async () => {
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

Deno.test("recovery: finds messages that were sent just before the bus came back", async () => {
  const outage = new Outage();
  await withNodes(2, async (a, b) => {
    await using alice = await newUser(a!);
    await using bob = await newUser(b!);
    outage.begin();
    await alice.chat(bob.id, "lost");
    outage.end();
    assertEquals((await bob.next(Msg.ONE_CHAT, SOON)).msg, "lost");
  }, outage);
});

Deno.test("recovery: an account has one session while the bus is down", async () => {
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
    await using fourth = await login(b!, { id }); // no session has it now, which the store knows
    outage.end();
    await fourth.settle();
  }, outage);
});

Deno.test("recovery: sends the presence changes of a bus outage afterwards, once", async () => {
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

Deno.test("recovery: users of a crashed node become offline, for friends and in the store", async () => {
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
    await buses[1]!.close(); // what is left of a node that is killed
    const { id, state } = await alice.next(Msg.PRESENCE);
    assertEquals([id, state], [bob.id, "offline"]);
    await until(async () => !(await store!.findUser({ id: bob.id }))!.online, "bob offline in the store");
    assert((await store!.findUser({ id: alice.id }))!.online);
    await using again = await login(a!, { id: bob.id });
    assertEquals((await alice.next(Msg.PRESENCE)).state, "online");
    await again.settle();
  }, between);
});

Deno.test("recovery: delivers a message without a hint when its sender repeats it", async () => {
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
    assertEquals((await bob.next(Msg.ONE_CHAT)).msg, "one");
    assertEquals((await alice.groupChat(groupid, "", "cid-2")).errno, Errno.BAD_REQUEST);
    assertEquals((await alice.groupChat(groupid, "all", "cid-2")).seq, 1);
    assertEquals((await bob.next(Msg.GROUP_CHAT)).msg, "all");
    await alice.chat(bob.id, "one", "cid-1");
    await alice.settle();
    await bob.settle();
    assertEquals([alice.drain(), bob.drain()], [[], []], "no user is told twice");
  }, { bus });
});

const LOOKS_ANYWAY_MS = 15_000; // less than it takes until a node looks without being told anything

Deno.test("recovery: makes up for lost hints of a node when it joins, and while it is silent", async () => {
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
    const next = async () => (await within(bob.next(Msg.ONE_CHAT), "the message", LOOKS_ANYWAY_MS)).msg;
    const friend = await register(b!);
    await alice.succeed({ msgid: Msg.ADD_FRIEND, friendid: friend });
    losing = true;
    await alice.chat(bob.id, "before it came");
    await using _friend = await login(b!, { id: friend });
    assertEquals(alice.drain(), []);
    for (const listener of listeners) listener.onNodeJoined();
    assertEquals(await next(), "before it came");
    const { id, state } = await within(alice.next(Msg.PRESENCE), "the friend's coming", LOOKS_ANYWAY_MS);
    assertEquals([id, state], [friend, "online"]);
    await alice.chat(bob.id, "before it was silent");
    for (const listener of listeners) listener.onSilenceChange(true);
    assertEquals(await next(), "before it was silent");
    await alice.chat(bob.id, "while it is silent");
    assertEquals(await next(), "while it is silent");
    await using later = await FramedClient.connect(a!);
    await later.login({ id: bob.id }, { force: true });
    await within(bob.next(Msg.NOTICE), "the end of the session that was taken over", LOOKS_ANYWAY_MS);
    await later.settle();
    for (const listener of listeners) listener.onSilenceChange(false);
  }, { bus });
});

/** Milliseconds between two polls of the store while the bus is unavailable. */
const POLL_MS = 1_000;

/** Counts a node's calls of its store. */
class CountingStore {
  looks = 0;
  resumed = 0;
  #store: Store | undefined;

  /** The node's store, without the counting. */
  get real(): Store {
    return this.#store!;
  }

  readonly wrap = (real: Store): Store =>
    wrapped(this.#store = real, (name, go) => {
      if (name === "usersWithUnread") this.looks++;
      if (name === "reclaimAccounts") this.resumed++;
      return go();
    });
}

Deno.test("recovery: reclaims accounts when a node rejoins and not before, and then stops polling", async () => {
  const outage = new Outage();
  const counts = new CountingStore();
  await withNodes(1, async (node) => {
    await using alice = await newUser(node!);
    const isOnline = async () => (await counts.real.findUser({ id: alice.id }))!.online;
    outage.begin();
    await counts.real.releaseAccounts([{ user: alice.id, loginEpoch: 1 }]); // by another node, to which this one seems to be gone
    const before = counts.looks;
    await until(() => counts.looks >= before + 2, "two looks while the bus is unavailable");
    assertEquals([counts.resumed, await isOnline()], [0, false]);
    outage.end();
    await until(isOnline, "alice online in the store");
    const after = counts.looks;
    await pause(5 * POLL_MS);
    assert(counts.looks <= after + 2, `${counts.looks - after} looks`); // of which one is what each half minute brings
  }, { bus: outage.bus, store: counts.wrap });
});

Deno.test("recovery: reclaims accounts once when the bus is back, also while another node is silent", async () => {
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
    await counts.real.releaseAccounts([{ user: alice.id, loginEpoch: 1 }]); // by another node, to which this one seems to be gone
    const begun = counts.looks;
    for (const listener of listeners) listener.onSilenceChange(true);
    await until(() => counts.looks >= begun + 2, "looks while the bus is unavailable");
    assertEquals(counts.resumed, 0, "another node would end them again");
    outage.end();
    await until(
      async () => (await counts.real.findUser({ id: alice.id }))!.online,
      "alice online in the store",
    );
    const { looks, resumed } = counts;
    await until(() => counts.looks >= looks + 4, "looks while the other node is silent");
    // One more may be a periodic one.
    assert(
      counts.resumed <= resumed + 1,
      `${counts.resumed - resumed} times in ${counts.looks - looks} looks`,
    );
  }, between);
});

Deno.test("recovery: users stay online in the store during their sessions, also after an outage of the store", async () => {
  let store: Store | undefined;
  let failing = false;
  const between = {
    store: (real: Store) => {
      store = real;
      return wrapped(real, (name, go) => {
        return failing && name === "releaseAccounts" ? Promise.reject(new Error("fails on purpose")) : go();
      });
    },
  };
  await withNodes(1, async (node) => {
    await using alice = await newUser(node!);
    const isOnline = async () => (await store!.findUser({ id: alice.id }))!.online;
    assert(await isOnline());
    failing = true;
    await alice.succeed({ msgid: Msg.LOGOUT });
    await alice.settle();
    assert(await isOnline());
    failing = false;
    await until(async () => !await isOnline(), "alice offline in the store");
  }, between);
});

Deno.test("recovery: the user is offline after a refused login that may have begun", async () => {
  let store: Store | undefined;
  let losing = false;
  const between = {
    store: (real: Store) => {
      store = real;
      return wrapped(real, async (name, go) => {
        const result = await go();
        if (name === "claimAccount" && losing) {
          throw new StoreUnavailableError("the answer is lost on purpose");
        }
        return result;
      });
    },
  };
  await withNodes(1, async (node) => {
    await using alice = await newUser(node!);
    const bob = await register(node!);
    await alice.succeed({ msgid: Msg.ADD_FRIEND, friendid: bob });
    losing = true;
    await using client = await FramedClient.connect(node!);
    const reply = await client.request({ msgid: Msg.LOGIN, id: bob, password: PASSWORD });
    assertEquals(reply.errno, Errno.UNAVAILABLE);
    assert((await store!.findUser({ id: bob }))!.online);
    losing = false;
    await until(async () => !(await store!.findUser({ id: bob }))!.online, "bob offline in the store");
    await client.login({ id: bob });
    assertEquals((await alice.next(Msg.PRESENCE)).state, "online");
  }, between);
});

Deno.test("recovery: announces logouts of a store outage when the store is back", async () => {
  let failing = false;
  const between = {
    store: (real: Store) =>
      wrapped(real, (name, go) => {
        const fails = failing && name === "followers";
        return fails ? Promise.reject(new StoreUnavailableError("fails on purpose")) : go();
      }),
  };
  await withNodes(2, async (a, b) => {
    await using alice = await newUser(a!);
    const bob = await newUser(b!);
    await alice.succeed({ msgid: Msg.ADD_FRIEND, friendid: bob.id });
    failing = true;
    await bob.close();
    await pause(50);
    failing = false;
    assertEquals((await alice.next(Msg.PRESENCE)).state, "offline");
  }, between);
});

Deno.test("recovery: sends PRESENCE after a CONTACTS reply with a state that the client did not know", async () => {
  const outage = new Outage();
  await withNodes(2, async (a, b) => {
    await using alice = await newUser(a!);
    const bob = await newUser(b!);
    await alice.succeed({ msgid: Msg.ADD_FRIEND, friendid: bob.id });
    outage.begin();
    const { friends } = await alice.succeed({ msgid: Msg.CONTACTS }); // as far as can be told: who is here
    assertEquals(friends!.map(({ state }) => state), ["offline"]);
    assertEquals((await alice.next(Msg.PRESENCE)).state, "offline");
    outage.end();
    assertEquals((await alice.next(Msg.PRESENCE)).state, "online");
    await alice.succeed({ msgid: Msg.CONTACTS });
    await alice.settle();
    assertEquals(alice.drain(), [], "no news, no PRESENCE");
    await bob.close();
    assertEquals((await alice.next(Msg.PRESENCE)).state, "offline");
  }, outage);
});
