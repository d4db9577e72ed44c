/**
 * The detection of nodes that left, and its delay after an outage, in which other nodes may need to rejoin.
 */
import { assertEquals, assertGreaterOrEqual, assertLess } from "@std/assert";
import { Names } from "../../lib/bus/redis/names.ts";
import { MAX_VANISHED_CHECKS, PeerNodes } from "../../lib/bus/redis/peer_nodes.ts";

const names = new Names("0");
const nodeName = (id: string) => names.node(id);

/** Milliseconds that other nodes have after an outage, minus the rounding of clocks. */
const GRACE_MS = 1_990;

/** Watches one other node, which does not exist. Returns the times of checks, and of its report as left. */
async function watch(afterOutage: boolean) {
  const peers = new PeerNodes(names, "own");
  for (const id of ["other", "own"]) peers.add(id);
  const over = new AbortController();
  const checks: { after: number; channels: readonly string[] }[] = [];
  const startedAt = performance.now();
  let leftCount = 0;
  const count = (channels: readonly string[]) => {
    checks.push({ after: performance.now() - startedAt, channels });
    if (checks.length > 1 || channels.length !== 1) over.abort();
    return Promise.resolve(new Map(channels.map((name) => [name, 0])));
  };
  const leave = () => {
    leftCount++;
    over.abort();
  };
  await peers.watch(
    { countSubscribers: count, sendHeartbeat() {}, onNodeLeft: leave, onSilenceChange() {} },
    over.signal,
    afterOutage,
  );
  return { checks, leftCount };
}

Deno.test("peer nodes: waits two seconds for other nodes after an outage, and less otherwise", async () => {
  const [after, without] = await Promise.all([watch(true), watch(false)]);
  for (const { checks, leftCount } of [after, without]) {
    assertEquals([checks.map(({ channels }) => channels), leftCount], [[[nodeName("other")]], 1]);
  }
  assertGreaterOrEqual(after.checks[0]!.after, GRACE_MS);
  assertLess(without.checks[0]!.after, after.checks[0]!.after);
});

Deno.test("peer nodes: reports no node as left that is subscribed or has no count", async () => {
  const peers = new PeerNodes(names, "own");
  for (const id of ["one", "two"]) peers.add(id);
  const over = new AbortController();
  const left: string[][] = [];
  let checkCount = 0;
  const count = (channels: readonly string[]) => {
    left.push([...channels]);
    if (++checkCount === 2) over.abort();
    // A server without a count for a channel has not reported its end.
    return Promise.resolve(new Map([[nodeName("one"), 1]]));
  };
  const onNodeLeft = () => void left.push(["left"]);
  await peers.watch(
    { countSubscribers: count, sendHeartbeat() {}, onNodeLeft, onSilenceChange() {} },
    over.signal,
    false,
  );
  assertEquals(left, [[nodeName("one"), nodeName("two")], [nodeName("one"), nodeName("two")]]);
});

/** No channel has a subscriber. */
const noSubscribers = new Map(["one", "two"].map((id) => [nodeName(id), 0]));

/** Returns the number of consecutive checks that find a silent node. */
function silentChecks(peers: PeerNodes): number {
  let checkCount = 0;
  while (peers.check(noSubscribers).isSilent) checkCount++;
  return checkCount;
}

Deno.test("peer nodes: a node that left without a goodbye is silent for minutes", () => {
  const peers = new PeerNodes(names, "own");
  peers.add("one");
  assertEquals(peers.check(noSubscribers), { hasLeft: true, isSilent: true });
  assertEquals(silentChecks(peers), MAX_VANISHED_CHECKS - 1);
  assertEquals(peers.check(noSubscribers), { hasLeft: false, isSilent: false });
  peers.add("two");
  peers.add("one"); // it rejoins
  assertEquals(peers.check(new Map()), { hasLeft: false, isSilent: false });
  peers.check(noSubscribers);
  assertEquals(silentChecks(peers), MAX_VANISHED_CHECKS - 1, "again after each rejoin");
});

Deno.test("peer nodes: a node that rejoins is no longer silent", () => {
  const peers = new PeerNodes(names, "own");
  peers.add("one");
  assertEquals(peers.check(noSubscribers), { hasLeft: true, isSilent: true });
  peers.add("one");
  assertEquals(peers.check(new Map([[nodeName("one"), 1]])), { hasLeft: false, isSilent: false });
});

Deno.test("peer nodes: a node that left after a goodbye is not silent", () => {
  const peers = new PeerNodes(names, "own");
  peers.markLeaving("two"); // an unknown node
  for (const id of ["one", "two"]) peers.add(id);
  peers.markLeaving("one");
  const here = new Map(["one", "two"].map((id) => [nodeName(id), 1]));
  assertEquals(peers.check(here), { hasLeft: false, isSilent: false });
  assertEquals(peers.check(new Map([...here, [nodeName("one"), 0]])), { hasLeft: true, isSilent: false });
  peers.markLeaving("two");
  peers.add("two"); // and publishes something afterwards
  assertEquals(peers.check(noSubscribers), { hasLeft: true, isSilent: true });
});
