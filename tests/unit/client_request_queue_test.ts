/** The client's request queue: the request in flight, and deferred requests. */
import { assertEquals, assertRejects } from "@std/assert";
import { RequestQueue } from "../../lib/client/request_queue.ts";
import { ConnectionLostError, type RequestMessage } from "../../lib/client/transport.ts";
import type { Message } from "../../lib/wire/message.ts";
import { Errno, Msg } from "../harness/protocol_numbers.ts";
import { until } from "../harness/wait.ts";

/** Returns a queue with a connection, and the requests sent on it. */
function connected() {
  const sent: RequestMessage[] = [];
  const queue = new RequestQueue(() => {});
  queue.attach((request) => sent.push(request));
  return { queue, sent };
}

const answer = (rid: number, more: object) => ({ msgid: Msg.ACK, rid, ...more }) as Message;
const later = (rid: number, ms: number) => answer(rid, { errno: Errno.RATE_LIMITED, retry_after: ms });

const HOUR_MS = 3_600_000;

Deno.test("request queue: counts a deferred request as not in flight", async () => {
  const { queue, sent } = connected();
  const reply = queue.add({ msgid: Msg.ADD_FRIEND, friendid: 2 } as RequestMessage, false);
  assertEquals(sent.length, 1);
  queue.onReply(later(1, HOUR_MS));
  await queue.pause(); // resolves when no request is in flight
  assertEquals(sent.length, 1);
  queue.attach((request) => sent.push(request));
  assertEquals(sent.length, 2);
  queue.onReply(answer(1, { errno: Errno.OK }));
  assertEquals((await reply).errno, Errno.OK);
});

Deno.test("request queue: sends a deferred request on the next connection", async () => {
  const { queue, sent } = connected();
  const reply = queue.add({ msgid: Msg.ADD_FRIEND, friendid: 2 } as RequestMessage, false);
  queue.onReply(later(1, HOUR_MS));
  queue.detach();
  queue.attach((request) => sent.push(request));
  assertEquals(sent.length, 2);
  queue.detach(); // now the request was in flight, and the server may have executed it
  await assertRejects(() => reply, ConnectionLostError);
  assertEquals(queue.size, 0);
});

Deno.test("request queue: ignores a second reply to a deferred request", async () => {
  const { queue, sent } = connected();
  const reply = queue.add({ msgid: Msg.ADD_FRIEND, friendid: 2 } as RequestMessage, true);
  queue.onReply(later(1, 20));
  queue.onReply(answer(1, { errno: Errno.FORBIDDEN }));
  await until(() => sent.length === 2, "the repeat");
  queue.onReply(answer(1, { errno: Errno.OK }));
  assertEquals((await reply).errno, Errno.OK);
});

Deno.test("request queue: ignores a reply with the rid of another request", async () => {
  const { queue } = connected();
  const reply = queue.add({ msgid: Msg.ADD_FRIEND, friendid: 2 } as RequestMessage, true);
  queue.onReply(answer(2, { errno: Errno.FORBIDDEN }));
  queue.onReply(answer(1, { errno: Errno.OK }));
  assertEquals((await reply).errno, Errno.OK);
});
