/** False hints: a node checks the store before it acts on a hint. */
import { assertEquals, assertNotEquals, assertStringIncludes } from "@std/assert";
import type { Bus } from "../../lib/bus/bus.ts";
import { Log } from "../../lib/log.ts";
import { type Store, StoreUnavailableError } from "../../lib/store/store.ts";
import { Msg } from "../harness/protocol_numbers.ts";
import { FramedClient, newGroup, newUser } from "../harness/framed_client.ts";
import { withNodes, wrapped } from "../harness/nodes.ts";
import { until } from "../harness/wait.ts";

/** Milliseconds for an immediate effect: less than a node takes to check without a hint. */
const MAX_DELAY_MS = 15_000;

Deno.test("forged hint: a takeover that the store does not confirm ends no session", async () => {
  const buses: Bus[] = [];
  const lines: string[] = [];
  const log = new Log("warn", "text", (line) => lines.push(line));
  await withNodes(2, async (a, b) => {
    await using alice = await newUser(a!);
    await using bob = await newUser(b!);
    for (let i = 0; i < 10; i++) buses[1]!.publish(alice.id, { kind: "takeover", loginEpoch: 2 ** 53 - 1 });
    await until(() => lines.length > 0, "the log to tell of it");
    assertStringIncludes(lines[0]!, "ignored takeovers that the database does not have");
    await bob.chat(alice.id, "still there?");
    assertEquals((await alice.next(Msg.ONE_CHAT)).msg, "still there?");
    assertEquals(alice.drain(), []);
    assertEquals(lines.length, 1, "once a minute");
  }, { bus: (bus) => buses[buses.push(bus) - 1]!, log });
});

Deno.test("forged hint: a genuine takeover takes effect after an outage of the store", async () => {
  let isAway = false;
  let refused = 0;
  const store = (real: Store) =>
    wrapped(real, (name, go) => {
      if (name !== "latestLoginEpochs" || !isAway) return go();
      refused++;
      return Promise.reject(new StoreUnavailableError("away on purpose"));
    });
  await withNodes(2, async (a, b) => {
    await using first = await newUser(a!);
    await using second = await FramedClient.connect(b!);
    isAway = true;
    await second.login({ id: first.id }, { force: true });
    await until(() => refused > 0, "the store to be asked");
    await first.settle();
    assertEquals(first.drain(), [], "while the store is unavailable the session goes on");
    isAway = false;
    assertEquals((await first.next(Msg.NOTICE, MAX_DELAY_MS)).kind, "kicked");
    await first.serverCloses();
    await second.settle();
  }, { store });
});

Deno.test("forged hint: a joined hint for a user that is not a member delivers no messages", async () => {
  const buses: Bus[] = [];
  const subscribed: unknown[] = [];
  const bus = (bus: Bus) =>
    wrapped(bus, (name, go, [channel]) => {
      if (name === "subscribe") subscribed.push(channel);
      return go();
    });
  let asked = 0;
  let truth: Store | undefined;
  const store = (real: Store) =>
    wrapped(truth = real, (name, go) => {
      if (name === "members") asked++;
      return go();
    });
  await withNodes(2, async (a, b) => {
    await using alice = await newUser(a!);
    await using bob = await newUser(b!);
    const [foreign, own] = [await newGroup(alice), await newGroup(alice)];
    await truth!.joinGroup(bob.id, own); // as a session does that another login has replaced
    subscribed.length = 0;
    for (const group of [foreign, own]) buses[0]!.publish(bob.id, { kind: "joined", group });
    await until(() => subscribed.includes(-own), "the group that bob is in");
    await bob.settle();
    assertEquals([asked, subscribed], [2, [-own]]);
    await alice.groupChat(foreign, "secret");
    await alice.chat(bob.id, "behind it");
    assertEquals((await bob.next(Msg.ONE_CHAT)).msg, "behind it");
    assertEquals(bob.drain(), []);
  }, { bus: (real) => buses[buses.push(bus(real)) - 1]!, store });
});

Deno.test("forged hint: the bus gets the epoch before it opens, and each later one", async () => {
  const calls: string[] = [];
  const bus = (bus: Bus) =>
    wrapped(bus, (name, go, [epoch]) => {
      if (name === "adopt") calls.push(`${epoch}`);
      if (name === "open") calls.push(name);
      return go();
    });
  let store: Store | undefined;
  await withNodes(1, async () => {
    const { epoch } = await store!.identity();
    assertEquals(calls, [epoch, "open"]);
    await store!.renewEpoch(epoch);
    await until(() => calls.length === 3, "the new epoch");
    assertEquals(calls[2], (await store!.identity()).epoch);
    assertNotEquals(calls[2], epoch);
  }, { bus, store: (real) => store = real });
});
