/** The order of the steps of a login: no message is lost or repeated, and no invalid token is issued. */
import { assert, assertEquals } from "@std/assert";
import type { Bus } from "../../lib/bus/bus.ts";
import type { Store } from "../../lib/store/store.ts";
import { ClassicClient } from "../harness/classic_client.ts";
import { Errno, Msg } from "../harness/protocol_numbers.ts";
import { FramedClient, login, newGroup, newUser, PASSWORD, register } from "../harness/framed_client.ts";
import { withNodes, wrapped } from "../harness/nodes.ts";
import { Outage } from "../harness/outage.ts";
import { pause } from "../harness/wait.ts";

/** Milliseconds until a login has its messages: less than the half minute of the periodic reconciliation. */
const SOON = 10_000;

/** Milliseconds in which a login that does not wait, as it should, continues. */
const GETS_ON = 300;

Deno.test("login: loads a group message that was committed before the group was subscribed (I3)", async () => {
  let before: (() => Promise<unknown>) | undefined;
  const bus = (real: Bus) =>
    wrapped(real, async (name, go, [channel]) => {
      if (name === "subscribe" && (channel as number) < 0 && before) {
        const send = before;
        before = undefined;
        await send(); // of this message no hint comes here
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
    assertEquals(before, undefined, "it was sent while the group was being subscribed");
    const { msg, seq } = await bob.next(Msg.GROUP_CHAT, SOON);
    assertEquals([msg, seq], ["in between", 1]);
    await alice.groupChat(groupid, "afterwards");
    assertEquals((await bob.next(Msg.GROUP_CHAT, SOON)).seq, 2);
  }, { bus });
});

Deno.test("login: is refused when another login replaces it before its token is saved", async () => {
  const outage = new Outage();
  const [asked, goOn] = [Promise.withResolvers<void>(), Promise.withResolvers<void>()];
  let isHeld = false;
  const store = (real: Store) =>
    wrapped(real, async (name, go) => {
      if (name === "saveSession" && isHeld) {
        isHeld = false;
        asked.resolve();
        await goOn.promise;
      }
      return await go();
    });
  await withNodes(2, async (a, b) => {
    using _letsGo = { [Symbol.dispose]: () => goOn.resolve() }; // also if it fails before
    const id = await register(a!);
    outage.begin(); // no node hears of the other's login
    isHeld = true;
    const forced = { msgid: Msg.LOGIN, id, password: PASSWORD, force: true };
    await using slow = await FramedClient.connect(a!);
    const refused = slow.request(forced);
    await asked.promise;
    await using quick = await FramedClient.connect(b!);
    const { token } = await quick.succeed(forced);
    goOn.resolve();
    assertEquals((await refused).errno, Errno.ALREADY_ONLINE);
    await using again = await login(b!, { token: token! }); // which is the one that counts
    await again.settle();
  }, { bus: outage.bus, store });
});

Deno.test("login: waits for the user's cursors in flight, and repeats no message", async () => {
  const [asked, goOn] = [Promise.withResolvers<void>(), Promise.withResolvers<void>()];
  let isWriting = false;
  const lookedEarly: unknown[] = [];
  const store = (real: Store) =>
    wrapped(real, async (name, go, args) => {
      if (name === "unread" && isWriting) lookedEarly.push(args[0]);
      if (name !== "advanceCursors") return await go();
      isWriting = true;
      asked.resolve();
      await goOn.promise;
      await go();
      return void (isWriting = false);
    });
  await withNodes(1, async (node) => {
    using _letsGo = { [Symbol.dispose]: () => goOn.resolve() }; // also if it fails before
    await using alice = await newUser(node!);
    await using bob = await newUser(node!);
    await alice.chat(bob.id, "once");
    await bob.next(Msg.ONE_CHAT);
    await bob.delivered({ id: alice.id }, 1);
    await asked.promise;
    await using again = await FramedClient.connect(node!);
    const welcome = again.request({ msgid: Msg.LOGIN, token: bob.token });
    await pause(GETS_ON);
    goOn.resolve();
    assertEquals((await welcome).errno, Errno.OK);
    await alice.chat(bob.id, "twice");
    assertEquals((await again.next(Msg.ONE_CHAT)).msg, "twice");
    assertEquals([again.drain(), lookedEarly], [[], []]);
  }, { store });
});

const QUIET = 1_000; // ms of silence before a PING, and the same for its answer

Deno.test("login: does not replace a silent classic client that reads, without force", async () => {
  await withNodes(1, async (node) => {
    await using alice = await newUser(node!);
    const id = await register(node!);
    await using classic = await ClassicClient.connect(node!);
    await classic.enter(id);
    const heard = performance.now();
    for (let count = 0; performance.now() - heard < 2 * QUIET + GETS_ON; count++) {
      await alice.chat(id, `${count}`);
      await classic.next(Msg.ONE_CHAT);
      await pause(50);
    }
    await using other = await FramedClient.connect(node!);
    const asked = { msgid: Msg.LOGIN, id, password: PASSWORD };
    assertEquals((await other.request(asked)).errno, Errno.ALREADY_ONLINE);
    await pause(2 * QUIET + GETS_ON);
    assert((await other.request(asked)).errno === Errno.OK, "who takes nothing and says nothing may be gone");
  }, { config: { pingInterval: QUIET, pongTimeout: QUIET } });
});
