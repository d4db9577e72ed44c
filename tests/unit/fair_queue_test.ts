/** The queue of passwords to hash: a client that fills the queue delays only itself. */
import { assert, assertEquals } from "@std/assert";
import { FairQueue, type QueueItem, type Standing } from "../../lib/passwords/fair_queue.ts";
import { Shares } from "../../lib/passwords/shares.ts";

const FORGET_MS = 30_000; // for one hash: see shares.ts
const MAX_DEBT = 5; // hashes that count
const ROOM = 1_000_000;

interface Item extends QueueItem {
  readonly name: string;
}

let now = 0;

function queueOf(max = ROOM): FairQueue<Item> {
  return new FairQueue<Item>(max, () => now);
}

let count = 0;

/** Returns an item of an address. Its network is the address without the last part. */
function item(address: string, standing: Standing = "new"): Item {
  const network = address.slice(0, address.lastIndexOf("."));
  return { name: `${address} ${++count}`, requester: { network, address, standing } };
}

function many(length: number, make: (at: number) => Item): Item[] {
  return Array.from({ length }, (_, at) => make(at));
}

/** Takes and charges the next items. Returns their addresses. */
function take(queue: FairQueue<Item>, count: number): string[] {
  return Array.from({ length: count }, () => {
    const { requester } = queue.next()!;
    queue.charge(requester);
    return requester.address;
  });
}

Deno.test("fair queue: keeps the order of the items of one address", () => {
  const queue = queueOf();
  const items = many(20, () => item("a.1"));
  for (const one of items) assertEquals(queue.push(one), undefined);
  assertEquals(queue.size, 20);
  assertEquals(many(20, () => queue.next()!), items);
  assertEquals([queue.size, queue.next()], [0, undefined]);
});

Deno.test("fair queue: serves a new address before the waiting items of a charged one", () => {
  const queue = queueOf();
  for (const one of many(300, () => item("a.1"))) queue.push(one);
  take(queue, 1);
  queue.push(item("b.1"));
  assertEquals(take(queue, 2), ["b.1", "a.1"]);
});

Deno.test("fair queue: alternates between equally charged addresses, however many items each has", () => {
  const queue = queueOf();
  for (const one of many(100, () => item("a.1"))) queue.push(one);
  for (const one of many(10, () => item("b.1"))) queue.push(one);
  for (const one of many(10, () => item("c.1"))) queue.push(one);
  take(queue, 15); // each has had 5
  assertEquals(take(queue, 6), ["a.1", "b.1", "c.1", "a.1", "b.1", "c.1"]);
});

Deno.test("fair queue: gives the many addresses of a network no more than the one address of another", () => {
  const queue = queueOf();
  for (let at = 0; at < 300; at++) queue.push(item(`a.${at}`));
  for (const one of many(20, () => item("b.1"))) queue.push(one);
  const taken = take(queue, 40);
  assertEquals(taken.filter((address) => address === "b.1").length, 20);
});

Deno.test("fair queue: serves a new address first within its network", () => {
  const queue = queueOf();
  for (const one of many(50, () => item("a.1"))) queue.push(one);
  for (const one of many(50, () => item("a.2"))) queue.push(one);
  take(queue, 20);
  queue.push(item("a.3"));
  assertEquals(take(queue, 1), ["a.3"]);
});

Deno.test("fair queue: serves known users first, and others with each fourth hash", () => {
  const queue = queueOf();
  for (let at = 0; at < 100; at++) queue.push(item(`a.${at}`));
  for (let at = 0; at < 6; at++) queue.push(item(`k.${at}`, "known"));
  assertEquals(take(queue, 10).map((address) => address[0]).join(""), "kkkakkkaaa");
});

Deno.test("fair queue: decays the charges of an address", () => {
  for (const [passed, next] of [[FORGET_MS - 1, "b.1"], [FORGET_MS, "a.1"]] as const) {
    const queue = queueOf();
    const [early, late] = [item("a.1"), item("b.1")];
    for (let count = 0; count < MAX_DEBT; count++) queue.charge(early.requester);
    now += passed;
    for (let count = 0; count < MAX_DEBT - 1; count++) queue.charge(late.requester);
    queue.push(early);
    queue.push(late);
    assertEquals(take(queue, 1), [next]);
  }
});

Deno.test("fair queue: bounds the charges of an address", () => {
  const queue = queueOf();
  const [much, more] = [item("a.1"), item("b.1")];
  for (let count = 0; count < MAX_DEBT + 100; count++) queue.charge(more.requester);
  for (let count = 0; count < MAX_DEBT; count++) queue.charge(much.requester);
  queue.push(much);
  queue.push(more);
  assertEquals(take(queue, 1), ["b.1"], "as its last one is longer ago");
});

Deno.test("fair queue: refunds a right password and one wrong one, but no frequent login", () => {
  const queue = queueOf();
  const [typist, often, other] = [item("a.1"), item("b.1", "frequent"), item("c.1")];
  for (const { requester } of [typist, typist, often, often, other]) queue.charge(requester);
  queue.refund(typist.requester);
  queue.refund(often.requester);
  for (const one of [often, other, typist]) queue.push(one);
  assertEquals(take(queue, 3), ["a.1", "c.1", "b.1"]);
});

Deno.test("fair queue: drops the newest item of the largest address when it is full", () => {
  const queue = queueOf(10);
  const items = many(9, () => item("a.1"));
  for (const one of items) assertEquals(queue.push(one), undefined);
  assertEquals(queue.push(item("b.1")), undefined, "there was just room for it");
  assertEquals(queue.push(item("c.1")), items.at(-1));
  const late = item("a.1");
  assertEquals(queue.push(late), late);
  assertEquals(queue.push(item("a.2")), items.at(-2), "as its network has the most");
  assertEquals(queue.push(item("k.1", "known")), items.at(-3));
  assertEquals(queue.size, 10);
});

Deno.test("fair queue: never drops a known user's item for a new user", () => {
  const queue = queueOf(3);
  const known = many(3, () => item("a.1", "known"));
  for (const one of known) queue.push(one);
  const late = item("b.1");
  assertEquals(queue.push(late), late);
  assertEquals(queue.push(item("c.1", "known")), known.at(-1));
});

Deno.test("fair queue: never returns a deleted item", () => {
  const queue = queueOf();
  const [gone, kept, known] = [item("a.1"), item("a.1"), item("a.1", "known")];
  for (const one of [gone, kept, known]) queue.push(one);
  assert(queue.delete(gone) && queue.delete(known));
  assert(!queue.delete(gone) && !queue.delete(item("z.1")));
  assertEquals([queue.next(), queue.next(), queue.size], [kept, undefined, 0]);
});

Deno.test("shares: evicts the key whose last charge is the longest ago", () => {
  const shares = new Shares(() => now, 3);
  shares.charge("b", 3);
  for (const key of ["a", "c"]) shares.charge(key, 1);
  assertEquals(shares.least(["a", "b"]), "a");
  shares.charge("d", 1); // one too many
  assertEquals(shares.least(["a", "b"]), "b", "as a new one");
  shares.charge("a", 1);
  shares.charge("e", 1); // "c" is the oldest now, as "a" was charged again
  assertEquals([shares.least(["a", "c"]), shares.least(["c", "a"])], ["c", "c"]);
  assertEquals(shares.least(["a", "e"]), "e", 'of "a" all is remembered');
});
