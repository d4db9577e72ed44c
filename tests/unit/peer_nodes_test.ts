/** What a node takes for gone, and when: after an outage the others may need as long to come back as it did. */
import { assertEquals, assertGreaterOrEqual, assertLess } from "@std/assert";
import { Names } from "../../lib/bus/redis/names.ts";
import { MAX_VANISHED_CHECKS, PeerNodes } from "../../lib/bus/redis/peer_nodes.ts";

const names = new Names("0");
const nodeName = (id: string) => names.node(id);

/** Milliseconds that the others get after an outage, and a few less, as clocks round. */
const GRACE = 1_990;

/** Watches one other node, which is not there; gives how often and when it was asked for, and found to be gone. */
async function watch(afterOutage: boolean) {
  const peers = new PeerNodes(names, "own");
  for (const id of ["other", "own"]) peers.add(id);
  const over = new AbortController();
  const asked: { after: number; channels: readonly string[] }[] = [];
  const began = performance.now();
  let gone = 0;
  const count = (channels: readonly string[]) => {
    asked.push({ after: performance.now() - began, channels });
    if (asked.length > 1 || channels.length !== 1) over.abort();
    return Promise.resolve(new Map(channels.map((name) => [name, 0])));
  };
  const leave = () => {
    gone++;
    over.abort();
  };
  await peers.watch(
    { countSubscribers: count, sendHeartbeat() {}, onNodeLeft: leave, onSilenceChange() {} },
    over.signal,
    afterOutage,
  );
  return { asked, gone };
}

Deno.test("peer nodes: waits two seconds for other nodes after an outage, and less otherwise", async () => {
  const [after, without] = await Promise.all([watch(true), watch(false)]);
  for (const { asked, gone } of [after, without]) {
    assertEquals([asked.map(({ channels }) => channels), gone], [[[nodeName("other")]], 1]);
  }
  assertGreaterOrEqual(after.asked[0]!.after, GRACE);
  assertLess(without.asked[0]!.after, after.asked[0]!.after);
});

Deno.test("peer nodes: reports no node as left that is subscribed or has no count", async () => {
  const peers = new PeerNodes(names, "own");
  for (const id of ["one", "two"]) peers.add(id);
  const over = new AbortController();
  const left: string[][] = [];
  let looks = 0;
  const count = (channels: readonly string[]) => {
    left.push([...channels]);
    if (++looks === 2) over.abort();
    // A server that says nothing of a channel has not said that it is gone.
    return Promise.resolve(new Map([[nodeName("one"), 1]]));
  };
  const gone = () => void left.push(["gone"]);
  await peers.watch(
    { countSubscribers: count, sendHeartbeat() {}, onNodeLeft: gone, onSilenceChange() {} },
    over.signal,
    false,
  );
  assertEquals(left, [[nodeName("one"), nodeName("two")], [nodeName("one"), nodeName("two")]]);
});

/** No channel has a subscriber. */
const gone = new Map(["one", "two"].map((id) => [nodeName(id), 0]));

/** How many of the next looks in a row find a node silent. */
function silentLooks(peers: PeerNodes): number {
  let looks = 0;
  while (peers.check(gone).isSilent) looks++;
  return looks;
}

Deno.test("peer nodes: a node that left without a goodbye is silent for some minutes, and then has ended", () => {
  const peers = new PeerNodes(names, "own");
  peers.add("one");
  assertEquals(peers.check(gone), { hasLeft: true, isSilent: true });
  assertEquals(silentLooks(peers), MAX_VANISHED_CHECKS - 1);
  assertEquals(peers.check(gone), { hasLeft: false, isSilent: false });
  peers.add("two");
  peers.add("one"); // back after all
  assertEquals(peers.check(new Map()), { hasLeft: false, isSilent: false });
  peers.check(gone);
  assertEquals(silentLooks(peers), MAX_VANISHED_CHECKS - 1, "each time anew");
});

Deno.test("peer nodes: a node that rejoins is no longer silent", () => {
  const peers = new PeerNodes(names, "own");
  peers.add("one");
  assertEquals(peers.check(gone), { hasLeft: true, isSilent: true });
  peers.add("one");
  assertEquals(peers.check(new Map([[nodeName("one"), 1]])), { hasLeft: false, isSilent: false });
});

Deno.test("peer nodes: a node that left after a goodbye is not silent", () => {
  const peers = new PeerNodes(names, "own");
  peers.markLeaving("two"); // which nothing is known of
  for (const id of ["one", "two"]) peers.add(id);
  peers.markLeaving("one");
  const here = new Map(["one", "two"].map((id) => [nodeName(id), 1]));
  assertEquals(peers.check(here), { hasLeft: false, isSilent: false });
  assertEquals(peers.check(new Map([...here, [nodeName("one"), 0]])), { hasLeft: true, isSilent: false });
  peers.markLeaving("two");
  peers.add("two"); // and says something else afterwards
  assertEquals(peers.check(gone), { hasLeft: true, isSilent: true });
});
