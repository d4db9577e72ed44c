/** What a session is pushed, and when. */
import { assertEquals } from "@std/assert";
import type { Connection } from "../lib/server/connection.ts";
import { Delivery, type DeliveryPorts, Fresh } from "../lib/server/delivery.ts";

const PEER = 2;

function message(seq: number) {
  return { seq, sender: PEER, senderName: "n", cid: "c", body: "b", time: 0 };
}

/** A session that has all up to seq 1, and a look that finds as many messages as `last`. */
async function withSession(
  last: number,
  work: (delivery: Delivery, pushed: readonly number[]) => Promise<void>,
) {
  const unread = [{ peer: PEER, cursor: 1, last: 1, since: 0 }];
  const ports = {
    store: {
      unread: () => Promise.resolve(unread),
    },
    cursors: { settled: () => Promise.resolve(), move() {} },
    catchingUp: { do: () => new Promise(() => {}) }, // nobody who is behind has a turn
    memberOf() {},
  } as unknown as DeliveryPorts;
  const pushed: number[] = [];
  const connection = {
    hasRoom: true,
    dialect: { name: "framed", encode: ({ seq }: { seq: number }) => Uint8Array.of(seq) },
    sendBytes: ([seq]: Uint8Array) => pushed.push(seq!),
    send: ({ seq }: { seq: number }) => pushed.push(seq),
  } as unknown as Connection;
  const delivery = new Delivery(1, connection, ports);
  await delivery.look();
  delivery.start();
  await new Promise((resolve) => setTimeout(resolve));
  unread[0]!.last = last;
  await delivery.look();
  await work(delivery, pushed);
  delivery.stop();
}

Deno.test("delivery: a message of which a look was told first is pushed at once, without a turn for those behind", () =>
  withSession(2, async (delivery, pushed) => {
    delivery.offer(PEER, new Fresh(message(2), PEER));
    delivery.offer(PEER, new Fresh(message(3), PEER));
    await Promise.resolve();
    assertEquals(pushed, [2, 3]);
  }));

Deno.test("delivery: with a gap before it, it waits for a turn", () =>
  withSession(2, async (delivery, pushed) => {
    delivery.offer(PEER, new Fresh(message(3), PEER));
    await Promise.resolve();
    assertEquals(pushed, []);
    delivery.offer(PEER, new Fresh(message(2), PEER)); // it may still be told
    await Promise.resolve();
    assertEquals(pushed, [2]);
  }));
