/**
 * Failures of the store or the bus at every step of a login and during delivery. The state must stay
 * consistent.
 */
import { assert, assertEquals, assertGreaterOrEqual } from "@std/assert";
import type { Bus } from "../../lib/bus/bus.ts";
import { Log } from "../../lib/log.ts";
import { CursorWriter } from "../../lib/server/delivery/cursor_writer.ts";
import { type Store, StoreUnavailableError } from "../../lib/store/store.ts";
import { Errno, Msg } from "../harness/protocol_numbers.ts";
import { FramedClient, login, newUser, PASSWORD, register } from "../harness/framed_client.ts";
import { type Between, withNodes, wrapped } from "../harness/nodes.ts";
import type { Address } from "../harness/server.ts";
import { pause, until, within } from "../harness/wait.ts";

const NEVER_FAILED = new Set([
  "unsubscribe",
  "publish",
  "open",
  "close",
  "releaseAccounts",
  "onlineLogins",
  "plaintextAccounts",
  "followers",
]); // calls that cannot fail, or whose failure has no effect

/** Makes the n-th call to the store or the bus fail, counted from the arming. */
class Fault {
  #left = 0;
  happened = false;
  only: string | undefined;

  arm(n: number, only?: string): void {
    this.#left = n;
    this.only = only;
    this.happened = false;
  }

  get between(): Between {
    const call = (name: string, go: () => unknown) => {
      const counts = !NEVER_FAILED.has(name) && (this.only === undefined || this.only === name);
      if (!counts || this.#left === 0 || --this.#left > 0) return go();
      this.happened = true;
      return Promise.reject(new StoreUnavailableError(`${name} fails on purpose`));
    };
    return { bus: (bus) => wrapped(bus, call), store: (store) => wrapped(store, call) };
  }
}

/** Fails a login of a free account at each of its steps in turn, and checks the state each time. */
async function failEachStep(
  look: (node: Address, id: number, token: string) => Promise<void>,
): Promise<number> {
  const fault = new Fault();
  let steps = 0;
  await withNodes(1, async (node) => {
    const id = await register(node!, "alice");
    for (let n = 1;; n++) {
      const before = await login(node!, { id });
      await before.close();
      await using client = await FramedClient.connect(node!);
      fault.arm(n);
      const reply = await client.request({ msgid: Msg.LOGIN, id, password: PASSWORD, force: true });
      const { happened } = fault;
      fault.arm(0);
      assertEquals(
        [reply.msgid, reply.errno],
        [Msg.LOGIN_ACK, happened ? Errno.UNAVAILABLE : Errno.OK],
        `step ${n}`,
      );
      if (!happened) break;
      steps++;
      await look(node!, id, before.token); // while the failed connection is still open
    }
  }, fault.between);
  return steps;
}

const MIN_STEPS = 6; // at least: find, lock, online, subscribe, contacts, unread, save

Deno.test("faults: leaves the account free when a login fails at any step", async () => {
  const steps = await failEachStep(async (node, id) => {
    await using other = await FramedClient.connect(node);
    assertEquals((await other.request({ msgid: Msg.LOGIN, id, password: PASSWORD })).errno, Errno.OK);
  });
  assertGreaterOrEqual(steps, MIN_STEPS);
});

Deno.test("faults: leaves the last token valid when a login fails at any step", async () => {
  const steps = await failEachStep(async (node, id, token) => {
    await using resumed = await login(node, { token });
    assertEquals(resumed.id, id);
  });
  assertGreaterOrEqual(steps, MIN_STEPS);
});

Deno.test("faults: retries a page that cannot be read and a DELIVERED that cannot be stored", async () => {
  const fault = new Fault();
  await withNodes(1, async (node) => {
    await using alice = await FramedClient.connect(node!);
    await alice.login({ id: await alice.register("alice") });
    const id = await register(node!, "bob");
    for (let i = 1; i <= 3; i++) await alice.chat(id, `${i}`);
    fault.arm(1, "read");
    const bob = await login(node!, { id });
    assertEquals((await bob.take(3, Msg.ONE_CHAT)).map(({ seq }) => seq), [1, 2, 3]);
    assert(fault.happened);
    fault.arm(1, "advanceCursors");
    await bob.delivered({ id: alice.id }, 3);
    await until(() => fault.happened, "a write of cursors that fails");
    await bob.close();
    await using again = await login(node!, { id });
    await alice.chat(id, "4");
    assertEquals((await again.next(Msg.ONE_CHAT)).seq, 4);
  }, fault.between);
});

/** Milliseconds after which a failed read is retried. */
const RETRY_MS = 1_000;

Deno.test("faults: retries a failed read after an interval, not once for each message", async () => {
  let reads = 0;
  let isRefusing = true;
  const store = (real: Store) =>
    wrapped(real, (name, go) => {
      if (name !== "read" || !isRefusing) return go();
      reads++;
      return Promise.reject(new StoreUnavailableError("fails on purpose"));
    });
  const messages = 50;
  await withNodes(1, async (node) => {
    await using alice = await newUser(node!);
    const id = await register(node!);
    await alice.chat(id, "1");
    const began = performance.now();
    await using bob = await login(node!, { id });
    await until(() => reads > 0, "a first try");
    for (let seq = 2; seq <= messages; seq++) await alice.chat(id, `${seq}`);
    const [tries, took] = [reads, performance.now() - began];
    assert(tries <= 1 + Math.ceil(took / RETRY_MS), `${tries} tries in ${took} ms`);
    isRefusing = false;
    const seqs = (await bob.take(messages, Msg.ONE_CHAT)).map(({ seq }) => seq);
    assertEquals(seqs, Array.from({ length: messages }, (_, at) => at + 1));
  }, { store });
});

Deno.test("faults: I3 retries a failed resync after joining a group", async () => {
  const fault = new Fault();
  const { bus, store } = fault.between;
  const slow = (one: Bus) =>
    wrapped(one, async (name, go, args) => {
      if (name === "subscribe" && (args[0] as number) < 0) await pause(200);
      return await go();
    });
  await withNodes(2, async (a, b) => {
    await using alice = await FramedClient.connect(a!);
    await alice.login({ id: await alice.register("alice") });
    const { groupid } = await alice.succeed({ msgid: Msg.CREATE_GROUP, groupname: "g", groupdesc: "" });
    await using bob = await FramedClient.connect(b!);
    await bob.login({ id: await bob.register("bob") });
    fault.arm(1, "unread");
    const joined = bob.succeed({ msgid: Msg.ADD_GROUP, groupid });
    await until(
      async () => (await alice.succeed({ msgid: Msg.MEMBERS, groupid })).users!.length === 2,
      "bob's joining",
    );
    await alice.groupChat(groupid!, "before bob's node is subscribed");
    await joined;
    assertEquals((await bob.next(Msg.GROUP_CHAT)).seq, 1);
    assert(fault.happened);
  }, { bus: (one) => slow(bus!(one)), store: store! });
});

Deno.test("faults: writes an account's cursors soon, however many others move theirs", async () => {
  let writes = 0;
  const store = { advanceCursors: () => pause(2).then(() => void writes++) } as Pick<
    Store,
    "advanceCursors"
  > as Store;
  const cursors = new CursorWriter(store, new Log("error", "text"));
  let moving = true;
  const others = (async () => {
    for (let user = 2; moving; user++) {
      cursors.advance(user, 1, 1);
      await pause(0);
    }
  })();
  await pause(20);
  cursors.advance(1, 2, 1);
  const before = writes;
  await within(cursors.flushUser(1), "the cursors to be settled");
  assert(writes - before <= 2, `${writes - before} writes`);
  moving = false;
  await others;
  await cursors.flush();
});
