/** The order of a login's steps: no message is missed or pushed twice, and no invalid token is issued. */
import { assert, assertEquals } from "@std/assert";
import type { Bus } from "../../lib/bus/bus.ts";
import { type Store, StoreUnavailableError } from "../../lib/store/store.ts";
import { ClassicClient } from "../harness/classic_client.ts";
import { Errno, Msg } from "../harness/protocol_numbers.ts";
import { FramedClient, login, newGroup, newUser, PASSWORD, register } from "../harness/framed_client.ts";
import { withNodes, wrapped } from "../harness/nodes.ts";
import { Outage } from "../harness/outage.ts";
import { pause } from "../harness/wait.ts";

/**
 * Milliseconds for the effect of a login: less than the half minute after which nodes reconcile at any rate.
 */
const EFFECT_TIMEOUT_MS = 10_000;

/** Milliseconds in which a login goes on that wrongly does not wait. */
const UNBLOCKED_MS = 300;

Deno.test("login: finds a group's message by the resync when it precedes the subscription (I3)", async () => {
  let before: (() => Promise<unknown>) | undefined;
  const bus = (real: Bus) =>
    wrapped(real, async (name, go, [channel]) => {
      if (name === "subscribe" && (channel as number) < 0 && before) {
        const send = before;
        before = undefined;
        await send(); // the hint of this message does not arrive here
      }
      return await go();
    });
  await withNodes(2, async (a, b) => {
    await using alice = await newUser(a!);
    await using first = await newUser(a!);
    const groupid = await newGroup(alice, [first]);
    await first.succeed({ msgid: Msg.LOGOUT });
    before = () => alice.groupChat(groupid, "in between");
    await using bob = await login(b!, { id: first.id });
    assertEquals(before, undefined, "the message was sent during the subscription of the group");
    const { msg, seq } = await bob.next(Msg.GROUP_CHAT, EFFECT_TIMEOUT_MS);
    assertEquals([msg, seq], ["in between", 1]);
    await alice.groupChat(groupid, "afterwards");
    assertEquals((await bob.next(Msg.GROUP_CHAT, EFFECT_TIMEOUT_MS)).seq, 2);
  }, { bus });
});

Deno.test("login: is refused when a later one overtakes it before its token is saved", async () => {
  const outage = new Outage();
  const [asked, gate] = [Promise.withResolvers<void>(), Promise.withResolvers<void>()];
  let isHeld = false;
  const store = (real: Store) =>
    wrapped(real, async (name, go) => {
      if (name === "saveSession" && isHeld) {
        isHeld = false;
        asked.resolve();
        await gate.promise;
      }
      return await go();
    });
  await withNodes(2, async (a, b) => {
    using _release = { [Symbol.dispose]: () => gate.resolve() }; // also when the test fails before
    const id = await register(a!);
    outage.begin(); // neither node is informed of the other's login
    isHeld = true;
    const forced = { msgid: Msg.LOGIN, id, password: PASSWORD, force: true };
    await using slow = await FramedClient.connect(a!);
    const refused = slow.request(forced);
    await asked.promise;
    await using quick = await FramedClient.connect(b!);
    const { token } = await quick.succeed(forced);
    gate.resolve();
    assertEquals((await refused).errno, Errno.ALREADY_ONLINE);
    await using again = await login(b!, { token: token! }); // this token is the valid one
    await again.settle();
  }, { bus: outage.bus, store });
});

Deno.test("login: waits for the user's cursors in flight, and repeats nothing", async () => {
  const [asked, gate] = [Promise.withResolvers<void>(), Promise.withResolvers<void>()];
  let isWriting = false;
  const lookedEarly: unknown[] = [];
  const store = (real: Store) =>
    wrapped(real, async (name, go, args) => {
      if (name === "unread" && isWriting) lookedEarly.push(args[0]);
      if (name !== "advanceCursors") return await go();
      isWriting = true;
      asked.resolve();
      await gate.promise;
      await go();
      return void (isWriting = false);
    });
  await withNodes(1, async (node) => {
    using _release = { [Symbol.dispose]: () => gate.resolve() }; // also when the test fails before
    await using alice = await newUser(node!);
    await using bob = await newUser(node!);
    await alice.chat(bob.id, "once");
    await bob.next(Msg.ONE_CHAT);
    await bob.delivered({ id: alice.id }, 1);
    await asked.promise;
    await using again = await FramedClient.connect(node!);
    const welcome = again.request({ msgid: Msg.LOGIN, token: bob.token });
    await pause(UNBLOCKED_MS);
    gate.resolve();
    assertEquals((await welcome).errno, Errno.OK);
    await alice.chat(bob.id, "twice");
    assertEquals((await again.next(Msg.ONE_CHAT)).msg, "twice");
    assertEquals([again.drain(), lookedEarly], [[], []]);
  }, { store });
});

const SILENCE_MS = 1_000; // ms of silence before a PING, and the same for its answer

Deno.test("login: does not replace a silent classic client that takes its bytes, unless forced", async () => {
  await withNodes(1, async (node) => {
    await using alice = await newUser(node!);
    const id = await register(node!);
    await using classic = await ClassicClient.connect(node!);
    await classic.enter(id);
    const heard = performance.now();
    for (let count = 0; performance.now() - heard < 2 * SILENCE_MS + UNBLOCKED_MS; count++) {
      await alice.chat(id, `${count}`);
      await classic.next(Msg.ONE_CHAT);
      await pause(50);
    }
    await using other = await FramedClient.connect(node!);
    const asked = { msgid: Msg.LOGIN, id, password: PASSWORD };
    assertEquals((await other.request(asked)).errno, Errno.ALREADY_ONLINE);
    await pause(2 * SILENCE_MS + UNBLOCKED_MS);
    assert(
      (await other.request(asked)).errno === Errno.OK,
      "a client that neither reads nor writes may be gone",
    );
  }, { config: { pingInterval: SILENCE_MS, pongTimeout: SILENCE_MS } });
});

Deno.test("login: is refused when a later one on its node replaces it while its token is saved", async () => {
  const [saved, gate] = [Promise.withResolvers<void>(), Promise.withResolvers<void>()];
  let isHeld = false;
  const store = (real: Store) =>
    wrapped(real, async (name, go) => {
      const result = await go();
      if (name === "saveSession" && isHeld) {
        isHeld = false;
        saved.resolve();
        await gate.promise;
      }
      return result;
    });
  await withNodes(1, async (node) => {
    using _release = { [Symbol.dispose]: () => gate.resolve() }; // also when the test fails before
    const id = await register(node);
    isHeld = true;
    const forced = { msgid: Msg.LOGIN, id, password: PASSWORD, force: true };
    await using slow = await FramedClient.connect(node);
    const refused = slow.request(forced);
    await saved.promise;
    await using quick = await FramedClient.connect(node);
    await quick.succeed(forced);
    gate.resolve();
    assertEquals((await refused).errno, Errno.ALREADY_ONLINE);
    assertEquals((await slow.request({ msgid: Msg.CONTACTS })).errno, Errno.NOT_LOGGED_IN);
    await quick.settle();
  }, { store });
});

Deno.test("login: releases the account when it fails after the session began", async () => {
  let fails = false;
  const store = (real: Store) =>
    wrapped(real, (name, go) => {
      if (name !== "unread" || !fails) return go();
      fails = false;
      throw new StoreUnavailableError("a test");
    });
  await withNodes(1, async (node) => {
    const id = await register(node);
    const request = { msgid: Msg.LOGIN, id, password: PASSWORD };
    fails = true;
    await using failed = await FramedClient.connect(node);
    assertEquals((await failed.request(request)).errno, Errno.UNAVAILABLE);
    await using other = await FramedClient.connect(node);
    assertEquals((await other.request(request)).errno, Errno.OK, "without force");
  }, { store });
});
