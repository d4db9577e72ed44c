/** The client's requests on their way: which one is under way, and which one the server has put off. */
import { assertEquals, assertRejects } from "@std/assert";
import { RequestQueue } from "../../lib/client/request_queue.ts";
import { ConnectionLostError, type RequestMessage } from "../../lib/client/transport.ts";
import type { Message } from "../../lib/wire/message.ts";
import { Errno, Msg } from "../harness/protocol_numbers.ts";
import { until } from "../harness/wait.ts";

/** An outbox with a connection, and what it has sent on it. */
function connected() {
  const sent: RequestMessage[] = [];
  const outbox = new RequestQueue(() => {});
  outbox.attach((request) => sent.push(request));
  return { outbox, sent };
}

const answer = (rid: number, more: object) => ({ msgid: Msg.ACK, rid, ...more }) as Message;
const later = (rid: number, ms: number) => answer(rid, { errno: Errno.RATE_LIMITED, retry_after: ms });

const HOUR = 3_600_000; // ms

Deno.test("client outbox: a request that was put off is not under way, so nothing is waited for", async () => {
  const { outbox, sent } = connected();
  const reply = outbox.add({ msgid: Msg.ADD_FRIEND, friendid: 2 } as RequestMessage, false);
  assertEquals(sent.length, 1);
  outbox.onReply(later(1, HOUR));
  await outbox.pause(); // it resolves when nothing is under way
  assertEquals(sent.length, 1);
  outbox.attach((request) => sent.push(request));
  assertEquals(sent.length, 2);
  outbox.onReply(answer(1, { errno: Errno.OK }));
  assertEquals((await reply).errno, Errno.OK);
});

Deno.test("client outbox: what was put off was not carried out, and is sent on the next connection", async () => {
  const { outbox, sent } = connected();
  const reply = outbox.add({ msgid: Msg.ADD_FRIEND, friendid: 2 } as RequestMessage, false);
  outbox.onReply(later(1, HOUR));
  outbox.detach();
  outbox.attach((request) => sent.push(request));
  assertEquals(sent.length, 2);
  outbox.detach(); // this time it was under way, and may have been carried out
  await assertRejects(() => reply, ConnectionLostError);
  assertEquals(outbox.size, 0);
});

Deno.test("client outbox: a second answer to a request that was put off is no answer to its repeat", async () => {
  const { outbox, sent } = connected();
  const reply = outbox.add({ msgid: Msg.ADD_FRIEND, friendid: 2 } as RequestMessage, true);
  outbox.onReply(later(1, 20));
  outbox.onReply(answer(1, { errno: Errno.FORBIDDEN }));
  await until(() => sent.length === 2, "the repeat");
  outbox.onReply(answer(1, { errno: Errno.OK }));
  assertEquals((await reply).errno, Errno.OK);
});
