/** The senders and recipients of the load program, without a server. */
import { assert, assertEquals } from "@std/assert";
import { Errno, Msg, type Sent } from "../harness/protocol_numbers.ts";
import { until } from "../harness/wait.ts";
import { Recipient } from "./recipient.ts";
import { Run } from "./run.ts";
import { Sender } from "./sender.ts";

const TO = { msgid: Msg.ONE_CHAT, toid: 2 };
const RETRY_AFTER_MS = 20;

/** A connection that records the messages sent on it. */
class FakePeer {
  readonly id = 1;
  readonly sent: Sent[] = [];
  onRead: () => void = () => {};

  send(message: Sent): void {
    this.sent.push(message);
  }
}

/** The reply to the first message, which is over the rate. */
const REFUSAL = {
  msgid: Msg.ACK,
  of: TO.msgid,
  errno: Errno.RATE_LIMITED,
  rid: 1,
  retry_after: RETRY_AFTER_MS,
};

Deno.test("load: a refused message is sent again with its cid after retry_after", async () => {
  const [peer, run] = [new FakePeer(), new Run(5)];
  const sender = new Sender(peer, run, TO);
  run.isSending = true;
  const due = performance.now();
  sender.send(due);
  sender.take(REFUSAL);
  assertEquals([peer.sent.length, run.sent, run.refused], [1, 1, 1]);
  assert(run.isAnswered);
  await until(() => peer.sent.length === 2, "the second attempt");
  assertEquals(peer.sent[1], peer.sent[0]);
  assertEquals([run.sent, run.isAnswered, sender.dueAt(String(peer.sent[0]!.cid))], [2, false, due]);
  sender.take({ msgid: Msg.ACK, of: TO.msgid, errno: Errno.OK, rid: 1, seq: 7 });
  assertEquals([sender.acked, run.acked, run.refused, run.isAnswered], [[7], 1, 1, true]);
});

Deno.test("load: a refused message of a window is due again when it is sent again", async () => {
  const [peer, run] = [new FakePeer(), new Run(5)];
  const sender = new Sender(peer, run, TO);
  run.isSending = sender.isRefilling = true;
  const due = performance.now();
  sender.send(due);
  sender.take(REFUSAL);
  await until(() => peer.sent.length === 2, "the second attempt, and no other message");
  assert(sender.dueAt(String(peer.sent[0]!.cid)) > due);
});

Deno.test("load: a refusal without retry_after ends the run", () => {
  const [peer, run] = [new FakePeer(), new Run(5)];
  const sender = new Sender(peer, run, TO);
  run.isSending = true;
  sender.send(performance.now());
  sender.take({ msgid: Msg.ACK, of: TO.msgid, errno: Errno.NOT_FOUND, errmsg: "no such user", rid: 1 });
  assertEquals(run.failure, "a message was refused with errno 5: no such user");
  assertEquals(run.isSending, false);
});

Deno.test("load: a recipient sends one DELIVERED for all messages of a read", () => {
  const peer = new FakePeer();
  const recipient = new Recipient(peer, Msg.ONE_CHAT, { id: 3 }, () => {});
  for (const seq of [1, 2, 3]) recipient.take({ msgid: Msg.ONE_CHAT, id: 3, seq });
  assertEquals(peer.sent, []);
  peer.onRead();
  assertEquals(peer.sent, [{ msgid: Msg.DELIVERED, id: 3, seq: 3 }]);
  recipient.take({ msgid: Msg.PRESENCE, id: 3 });
  peer.onRead();
  assertEquals(peer.sent.length, 1);
});
