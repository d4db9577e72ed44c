/** The delivery of messages to a session. */
import { assertEquals } from "@std/assert";
import type { Connection } from "../../lib/server/net/connection.ts";
import { CommittedMessage, Delivery, type DeliveryDeps } from "../../lib/server/delivery/delivery.ts";

const PEER = 2;

function message(seq: number, sender = PEER) {
  return { seq, sender, senderName: "n", cid: "c", body: "b", time: 0 };
}

/** Returns a delivery that has pushed seq 1, over a store with messages up to `last`. */
async function withSession(
  last: number,
  work: (delivery: Delivery, pushed: readonly number[], moved: readonly number[]) => Promise<void>,
) {
  const unread = [{ peer: PEER, cursor: 1, last: 1, since: 0 }];
  const moved: number[] = []; // to where the cursor was
  const deps = {
    store: {
      unread: () => Promise.resolve(unread),
    },
    cursors: {
      flushUser: () => Promise.resolve(),
      advance: (_user: number, _peer: number, seq: number) => moved.push(seq),
    },
    bulkQueue: { run: () => new Promise(() => {}) }, // no backlog is read
    ensureJoined() {},
  } as unknown as DeliveryDeps;
  const pushed: number[] = [];
  const connection = {
    isWritable: true,
    dialect: { name: "framed", encode: ({ seq }: { seq: number }) => Uint8Array.of(seq) },
    sendBytes: ([seq]: Uint8Array) => pushed.push(seq!),
    send: ({ seq }: { seq: number }) => pushed.push(seq),
  } as unknown as Connection;
  const delivery = new Delivery(1, connection, deps);
  await delivery.loadUnread();
  delivery.start();
  await new Promise((resolve) => setTimeout(resolve));
  unread[0]!.last = last;
  await delivery.loadUnread();
  await work(delivery, pushed, moved);
  delivery.stop();
}

Deno.test("delivery: pushes a message at once when loadUnread has found it before its hint", () =>
  withSession(2, async (delivery, pushed) => {
    delivery.deliver(PEER, new CommittedMessage(message(2), PEER));
    delivery.deliver(PEER, new CommittedMessage(message(3), PEER));
    await Promise.resolve();
    assertEquals(pushed, [2, 3]);
  }));

Deno.test("delivery: reads a message after a gap in the bulk queue", () =>
  withSession(2, async (delivery, pushed) => {
    delivery.deliver(PEER, new CommittedMessage(message(3), PEER));
    await Promise.resolve();
    assertEquals(pushed, []);
    delivery.deliver(PEER, new CommittedMessage(message(2), PEER)); // it may still be told
    await Promise.resolve();
    assertEquals(pushed, [2]);
  }));

Deno.test("delivery: bounds DELIVERED by the last known message, also one known from a hint", () =>
  withSession(1, async (delivery, _pushed, moved) => {
    delivery.acknowledge(PEER, 9);
    assertEquals(moved, [1]);
    delivery.deliver(PEER, new CommittedMessage(message(2), PEER));
    delivery.deliver(PEER, new CommittedMessage(message(3), PEER));
    delivery.acknowledge(PEER, 9);
    delivery.acknowledge(PEER + 1, 1); // nothing of that one has come
    assertEquals(moved, [1, 3]);
    await Promise.resolve();
  }));

Deno.test("delivery: advances the cursor over the user's own message, and not over missing messages before it", () =>
  withSession(1, async (delivery, pushed, moved) => {
    delivery.deliver(PEER, new CommittedMessage(message(2, 1), PEER));
    assertEquals(moved, [2]);
    delivery.deliver(PEER, new CommittedMessage(message(3), PEER));
    delivery.deliver(PEER, new CommittedMessage(message(4, 1), PEER)); // of message 3 the client has said nothing yet
    assertEquals([moved, pushed], [[2], [3]]);
    delivery.acknowledge(PEER, 4);
    delivery.deliver(PEER, new CommittedMessage(message(5, 1), PEER));
    assertEquals(moved, [2, 4, 5]);
    await Promise.resolve();
  }));

/** Returns a delivery with these unread conversations. `log` has their messages, and reads wait for `gates`. */
function withLog(
  log: ReadonlyMap<number, readonly ReturnType<typeof message>[]>,
  gates: ReadonlyMap<number, Promise<void>> = new Map(),
) {
  const pushed: [peer: number, seq: number][] = [];
  const reads: number[] = []; // the peers
  const deps = {
    store: {
      unread: (_user: number, limit: number) => {
        const acknowledged = new Set(pushed.map(([peer]) => peer));
        const unread = [...log].filter(([peer]) => !acknowledged.has(peer)).slice(0, limit);
        return Promise.resolve(
          unread.map(([peer, messages]) => ({ peer, cursor: 0, last: messages.at(-1)!.seq, since: 0 })),
        );
      },
      read: async (_user: number, peer: number, after = 0) => {
        reads.push(peer);
        await gates.get(peer);
        return { after, messages: log.get(peer)!.filter(({ seq }) => seq > after) };
      },
    },
    cursors: { flushUser: () => Promise.resolve() },
    bulkQueue: { run: (read: () => Promise<unknown>) => read(), charge() {} },
  } as unknown as DeliveryDeps;
  const connection = {
    isWritable: true,
    dialect: { name: "framed", encode: ({ id, seq }: { id: number; seq: number }) => Uint8Array.of(id, seq) },
    sendBytes: ([id, seq]: Uint8Array) => pushed.push([id!, seq!]),
    send: ({ id, seq }: { id: number; seq: number }) => pushed.push([id, seq]),
  } as unknown as Connection;
  return { delivery: new Delivery(1, connection, deps), connection, pushed, reads };
}

Deno.test("I2 delivery: pushes nothing before its start, and then everything in order", async () => {
  const { delivery, pushed } = withLog(new Map([[PEER, [message(1), message(2)]]]));
  await delivery.loadUnread();
  delivery.deliver(PEER, new CommittedMessage(message(1), PEER));
  delivery.deliver(PEER, new CommittedMessage(message(2), PEER));
  await settled();
  assertEquals(pushed, []);
  delivery.start();
  await settled();
  assertEquals(pushed, [[PEER, 1], [PEER, 2]]);
  delivery.stop();
});

Deno.test("I2 delivery: pushes a message once when its hint comes after it was read into a page", async () => {
  const other = PEER + 1;
  const gate = Promise.withResolvers<void>();
  const log = new Map([[PEER, [{ ...message(1), time: 1 }]], [other, [message(1, other)]]]);
  const { delivery, pushed } = withLog(log, new Map([[other, gate.promise]]));
  await delivery.loadUnread();
  delivery.start();
  await settled(); // the later message is in memory, and the page of the other one is being read
  delivery.deliver(PEER, new CommittedMessage(message(1), PEER));
  gate.resolve();
  await settled();
  assertEquals(pushed, [[other, 1], [PEER, 1]]);
  delivery.stop();
});

Deno.test("I7 delivery: keeps one page of a slow reader, and reads the others again later", async () => {
  const other = PEER + 1;
  const [oldest, ...later] = [1, 2, 3].map((seq) => ({ ...message(seq), time: seq }));
  const log = new Map([[PEER, [oldest!, ...later]], [other, [{ ...message(1, other), time: 2.5 }]]]);
  const { delivery, connection, pushed, reads } = withLog(log);
  let isSlow = true;
  Object.defineProperty(connection, "isWritable", { get: () => !isSlow || pushed.length === 0 });
  await delivery.loadUnread();
  delivery.deliver(PEER, new CommittedMessage(oldest!, 1));
  delivery.start();
  await settled();
  assertEquals(pushed, [[PEER, 1]]);
  const before = reads.splice(0);
  assertEquals(before.toSorted(), [PEER, other]);
  isSlow = false;
  delivery.resume();
  await settled();
  assertEquals([pushed, reads], [[[PEER, 1], [PEER, 2], [other, 1], [PEER, 3]], [other]]);
  delivery.stop();
});

Deno.test("I7 delivery: pushes the messages of conversations whose state was evicted", async () => {
  const count = 5_000; // more than a session caches
  const peers = Array.from({ length: count }, (_, at) => at + PEER);
  const log = new Map(peers.map((peer) => [peer, [message(1, peer)]]));
  const { delivery, pushed } = withLog(log);
  for (const peer of peers) delivery.deliver(peer, new CommittedMessage(message(1, peer), 1));
  delivery.start();
  await settled();
  assertEquals(new Set(pushed.map(([peer]) => peer)).size, count);
  delivery.stop();
});

Deno.test("I8 delivery: pushes nothing that was being read when it stopped", async () => {
  const gate = Promise.withResolvers<void>();
  const { delivery, pushed } = withLog(new Map([[PEER, [message(1)]]]), new Map([[PEER, gate.promise]]));
  await delivery.loadUnread();
  delivery.start();
  await settled();
  delivery.stop();
  gate.resolve();
  await settled();
  assertEquals(pushed, []);
});

function settled(): Promise<void> {
  return new Promise((resolve) => setTimeout(resolve));
}
