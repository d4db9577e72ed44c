/** The delivery of messages to a session. */
import { assertEquals } from "@std/assert";
import type { Connection } from "../../lib/server/net/connection.ts";
import { CommittedMessage, Delivery, type DeliveryDeps } from "../../lib/server/delivery/delivery.ts";
import { within } from "../harness/wait.ts";

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

Deno.test("delivery: pushes the messages of conversations whose state was evicted (I7)", async () => {
  const peers = Array.from({ length: 5_000 }, (_, at) => PEER + at); // more than a session caches
  const unread = new Set<number>();
  const deps = {
    store: {
      unread: (_user: number, limit: number) =>
        Promise.resolve([...unread].slice(0, limit).map((peer) => ({ peer, cursor: 0, last: 1, since: 0 }))),
      read: (_user: number, peer: number) => Promise.resolve({ after: 0, messages: [message(1, peer)] }),
    },
    cursors: {
      flushUser: () => Promise.resolve(),
      advance: (_user: number, peer: number) => unread.delete(peer),
    },
    bulkQueue: { run: (work: () => Promise<unknown>) => work(), charge() {} },
  } as unknown as DeliveryDeps;
  const pushed: number[] = [];
  const done = Promise.withResolvers<void>();
  const connection = {
    isWritable: false,
    send({ id }: { id: number }) {
      pushed.push(id);
      queueMicrotask(() => delivery.acknowledge(id, 1));
      if (pushed.length === peers.length) done.resolve();
    },
  };
  const delivery = new Delivery(1, connection as unknown as Connection, deps);
  delivery.start();
  for (const peer of peers) {
    unread.add(peer);
    delivery.deliver(peer, new CommittedMessage(message(1, peer), 1));
  }
  connection.isWritable = true;
  delivery.resume();
  await within(done.promise, "all messages");
  delivery.stop();
  assertEquals(pushed.toSorted((a, b) => a - b), peers);
});
