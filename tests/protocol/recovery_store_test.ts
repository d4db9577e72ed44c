/** Nodes in this process whose store fails for a while or has stale results. */
import { assert, assertEquals } from "@std/assert";
import { type Store, StoreUnavailableError } from "../../lib/store/store.ts";
import { FramedClient, newUser, PASSWORD, register } from "../harness/framed_client.ts";
import { withNodes, wrapped } from "../harness/nodes.ts";
import { Outage } from "../harness/outage.ts";
import { Errno, Msg } from "../harness/protocol_numbers.ts";
import { pause, until } from "../harness/wait.ts";

/**
 * Milliseconds for the effect of a retry: less than the half minute after which nodes reconcile at any rate.
 */
const RETRY_EFFECT_TIMEOUT_MS = 15_000;

Deno.test("recovery: retries a logout in the store until the user is offline there", async () => {
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

Deno.test("recovery: leaves the user offline when a refused login may have begun", async () => {
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

Deno.test("recovery: I9 writes no cursor and no logout of an earlier history of the store", async () => {
  let epoch: string | undefined; // of the later history
  let failing = true;
  const written: number[] = []; // the users
  const store = (real: Store) =>
    wrapped(real, async (name, go, [updates]) => {
      if (name === "identity" && epoch) return { ...await real.identity(), epoch };
      if (name === "advanceCursors" || name === "releaseAccounts") {
        if (failing) throw new StoreUnavailableError("fails on purpose");
        written.push(...(updates as readonly { user: number }[]).map(({ user }) => user));
      }
      return await go();
    });
  await withNodes(1, async (node) => {
    await using alice = await newUser(node!);
    await using bob = await newUser(node!);
    await using carol = await newUser(node!);
    await alice.chat(bob.id, "one");
    await bob.next(Msg.ONE_CHAT);
    await bob.delivered({ id: alice.id }, 1);
    await bob.settle();
    await carol.succeed({ msgid: Msg.LOGOUT });
    epoch = "another";
    await bob.serverCloses();
    failing = false;
    await using dave = await newUser(node!);
    await using erin = await newUser(node!);
    await dave.chat(erin.id, "one");
    await erin.next(Msg.ONE_CHAT);
    await erin.delivered({ id: dave.id }, 1);
    await erin.succeed({ msgid: Msg.LOGOUT });
    await until(() => written.filter((user) => user === erin.id).length === 2, "erin's cursor and logout");
    assertEquals(written.filter((user) => [alice.id, bob.id, carol.id].includes(user)), []);
  }, { store });
});

Deno.test("recovery: sends a user's departure when the store recovers", async () => {
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

Deno.test("recovery: resumes logins in the store when the first attempt after an outage fails", async () => {
  const outage = new Outage();
  let real: Store | undefined;
  let failures = 0;
  const store = (inner: Store) => {
    real = inner;
    return wrapped(inner, (name, go) => {
      if (name !== "latestLoginEpochs" || failures === 0) return go();
      failures--;
      return Promise.reject(new StoreUnavailableError("fails on purpose"));
    });
  };
  await withNodes(1, async (node) => {
    await using alice = await newUser(node!);
    outage.begin();
    // by another node, which considers this one gone
    await real!.releaseAccounts([{ user: alice.id, loginEpoch: 1 }]);
    failures = 1;
    outage.end();
    await until(() => failures === 0, "a failed attempt");
    await until(
      async () => (await real!.findUser({ id: alice.id }))!.online,
      "alice online in the store",
      RETRY_EFFECT_TIMEOUT_MS,
    );
  }, { bus: outage.bus, store });
});

Deno.test("recovery: ends a replaced session in seconds when the store shows the takeover late", async () => {
  const EPOCH_BEFORE = 1; // that of a user's first login
  let isStale = false;
  const store = (inner: Store) =>
    wrapped(inner, async (name, go) => {
      const result = await go();
      if (name !== "latestLoginEpochs" || !isStale) return result;
      // The stale result of a replica that has not applied the later login yet, once.
      isStale = false;
      return new Map([...result as Map<number, number>].map(([user]) => [user, EPOCH_BEFORE]));
    });
  await withNodes(2, async (a, b) => {
    await using first = await newUser(a!);
    await using second = await FramedClient.connect(b!);
    isStale = true;
    await second.login({ id: first.id }, { force: true });
    assertEquals(isStale, false, "the first node has asked the store, which did not know the takeover");
    assertEquals((await first.next(Msg.NOTICE, RETRY_EFFECT_TIMEOUT_MS)).kind, "kicked");
    await first.serverCloses();
    await second.settle();
  }, { store });
});
