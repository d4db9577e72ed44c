/**
 * Scripts of malicious requests as a target. Each line is a body. A framed client sends all at once, and each
 * must get its one reply.
 */
import { assert, assertEquals, assertNotEquals } from "@std/assert";
import { requestTable as table } from "../../lib/server/handlers/request_table.ts";
import { Errno, Msg, type Received } from "../harness/protocol_numbers.ts";
import { FramedClient } from "../harness/framed_client.ts";
import { frame, joined } from "../harness/frames.ts";
import { hostileBody, JOIN, LOGIN } from "./hostile.ts";
import { mutated } from "./mutate.ts";
import type { Account, HostileNode } from "./node.ts";
import { randomOf, type Target } from "./target.ts";

const LINE_FEED = 0x0a;
const MAX_LINES = 30; // of a script
// bytes of a body before its placeholders are replaced; a body over the maximum ends the connection
const MAX_BODY_BYTES = 60_000;
const encoder = new TextEncoder();

/** The only fields that a reply or a push may have besides msgid and rid, by msgid. */
const FIELDS: Readonly<Record<number, readonly string[]>> = {
  [Msg.LOGIN_ACK]: ["id", "name", "token", "epoch", "friends", "groups"],
  [Msg.REGISTER_ACK]: ["id"],
  [Msg.ACK]: ["of", "seq", "time", "friendid", "name", "state", "groupid", "groupname"],
  [Msg.HISTORY_ACK]: ["id", "groupid", "messages"],
  [Msg.PONG]: [],
  [Msg.CONTACTS_ACK]: ["friends", "groups"],
  [Msg.MEMBERS_ACK]: ["groupid", "users"],
};
const PUSHES: readonly number[] = [Msg.ONE_CHAT, Msg.GROUP_CHAT, Msg.PRESENCE];

/** A body that is a JSON object. */
type Body = Readonly<Record<string, unknown>>;

/** A message that was acknowledged. */
interface Sent {
  readonly sender: number;
  readonly peer: number;
  readonly seq: number;
  readonly msg: unknown;
  readonly cid: unknown;
}

/** The target: requests to a node. */
export function requests(node: HostileNode): Target {
  return {
    name: "requests",
    generate(random) {
      const lines = Array.from({ length: 1 + random.below(MAX_LINES) }, () => {
        const body = hostileBody(random).subarray(0, MAX_BODY_BYTES);
        return random.below(25) > 0 ? body : mutated(random, body, 1);
      });
      for (const usual of [LOGIN, LOGIN, LOGIN, JOIN, JOIN]) {
        if (random.below(2) === 0) {
          lines.splice(random.below(1 + (lines.length >> 1)), 0, encoder.encode(usual));
        }
      }
      return joined(...lines.flatMap((line) => [line, Uint8Array.of(LINE_FEED)]));
    },
    async check(input) {
      const account = await node.account();
      const bodies = linesOf(node.script(input, account));
      const received = await answersTo(node, bodies, randomOf(input).below(2_000) + 1);
      const replies = received.filter(({ msgid }) => msgid in FIELDS);
      const pushes = received.filter(({ msgid }) => !(msgid in FIELDS));
      const expected = bodies.map(replyTo).filter((reply) => reply !== undefined);
      assertEquals(
        replies.map(({ msgid, of, rid }) => ({ msgid, of, rid })),
        expected.map(({ head }) => head),
      );
      const sent = sentBy(account, expected.map(({ body }) => body), replies);
      await checkPushes(node, sent, pushes);
      await checkLog(node, sent);
      await node.isWell(received);
    },
  };
}

function linesOf(script: Uint8Array): Uint8Array[] {
  const lines: Uint8Array[] = [];
  for (let at = 0; at < script.length;) {
    const end = script.indexOf(LINE_FEED, at);
    lines.push(script.subarray(at, end < 0 ? script.length : end));
    at = end < 0 ? script.length : end + 1;
  }
  return lines;
}

/** Sends bodies in parts of a size, and returns all messages of the server. */
async function answersTo(
  node: HostileNode,
  bodies: readonly Uint8Array[],
  piece: number,
): Promise<Received[]> {
  await using client = await FramedClient.connect(node);
  const last = { msgid: Msg.PING, rid: crypto.randomUUID() };
  const bytes = joined(...bodies.map((body) => frame(body)), frame(JSON.stringify(last)));
  for (let at = 0; at < bytes.length; at += piece) {
    client.sendBytes(bytes.subarray(at, at + piece)).catch(() => {}); // a missing reply makes the check fail
  }
  await client.next(({ rid }) => rid === last.rid);
  return client.drain();
}

/** Returns the reply that a body must get, or undefined for none. */
function replyTo(body: Uint8Array): { head: Body; body: Body } | undefined {
  let value: Body;
  try {
    value = JSON.parse(new TextDecoder("utf-8", { fatal: true, ignoreBOM: true }).decode(body));
  } catch {
    return unknown(0);
  }
  if (typeof value !== "object" || value === null || Array.isArray(value)) return unknown(0);
  const { msgid } = value;
  const rid = typeof value.rid === "string" || Number.isFinite(value.rid) ? value.rid : undefined;
  if (!Number.isSafeInteger(msgid)) return unknown(0, rid);
  const spec = table.get(msgid as number);
  if (!spec) return unknown(msgid as number, rid);
  if (spec.reply === undefined) return undefined;
  const of = spec.reply === Msg.ACK ? spec.msgid : undefined;
  return { head: head(spec.reply, of, rid), body: value };
}

function unknown(of: number, rid?: unknown): { head: Body; body: Body } {
  return { head: head(Msg.ACK, of, rid), body: {} };
}

function head(msgid: number, of: number | undefined, rid: unknown): Body {
  const sent = JSON.parse(JSON.stringify({ of, rid })) as Body; // -0 becomes 0
  return { msgid, of: sent.of, rid: sent.rid };
}

/** Checks the replies to bodies, and returns the acknowledged messages. */
function sentBy({ id, name }: Account, bodies: readonly Body[], replies: readonly Received[]): Sent[] {
  const sent: Sent[] = [];
  let me: number | undefined;
  for (const [at, reply] of replies.entries()) {
    const body = bodies[at]!;
    const isOk = reply.errno === Errno.OK;
    const show = JSON.stringify(reply);
    assert(Number.isInteger(reply.errno) && reply.errno! >= 0 && reply.errno! <= Errno.RATE_LIMITED, show);
    assertEquals(isOk, reply.errmsg === undefined, show);
    const own = isOk ? FIELDS[reply.msgid]! : ["of", "errmsg", "retry_after"];
    for (const field of Object.keys(reply)) {
      assert(["msgid", "errno", "rid", ...own].includes(field), `${field} in ${show}`);
    }
    if (reply.errno === Errno.NOT_LOGGED_IN) assertEquals(me, undefined, show);
    if (!isOk) continue;
    if (table.get(body.msgid as number)?.needsLogin) assertNotEquals(me, undefined, show);
    if (reply.msgid === Msg.LOGIN_ACK) {
      me = reply.id!;
      if (me === id) assertEquals(reply.name, name);
    } else if (reply.of === Msg.LOGOUT) me = undefined;
    else if (reply.msgid === Msg.HISTORY_ACK) checkHistory(me!, reply);
    else if (reply.of === Msg.ONE_CHAT || reply.of === Msg.GROUP_CHAT) {
      const peer = reply.of === Msg.ONE_CHAT ? body.toid as number : -(body.groupid as number);
      const isAgain = sent.some((one) => one.sender === me && one.peer === peer && one.seq === reply.seq);
      if (!isAgain) sent.push({ sender: me!, peer, seq: reply.seq!, msg: body.msg, cid: body.cid });
    }
  }
  return sent;
}

/** Checks that a page has messages of the requested conversation in order. */
function checkHistory(me: number, { id, groupid, messages }: Received): void {
  for (const [at, message] of messages!.entries()) {
    if (at > 0) assertEquals(message.seq, messages![at - 1]!.seq! + 1);
    if (groupid !== undefined) assertEquals([message.msgid, message.groupid], [Msg.GROUP_CHAT, groupid]);
    else assertEquals(new Set([message.id, message.toid]), new Set([me, id]));
  }
}

/**
 * Checks that users were pushed only sent messages by their senders, and the observers all of them in order.
 */
async function checkPushes(
  node: HostileNode,
  sent: readonly Sent[],
  own: readonly Received[],
): Promise<void> {
  const check = (message: Received) => {
    assert(PUSHES.includes(message.msgid), JSON.stringify(message));
    if (message.msgid === Msg.PRESENCE) return;
    const found = sent.find((one) =>
      one.sender === message.id && one.peer === peerOf(message) && one.seq === message.seq
    );
    assert(found, `no user sent ${JSON.stringify(message)}`);
    assertEquals([message.msg, message.cid], [found.msg, found.cid ?? message.cid]);
    assertEquals(typeof message.cid, "string");
  };
  own.forEach(check);
  const isFor = (to: FramedClient) => ({ peer }: Sent) => peer === to.id || peer === -node.group;
  const pushed = await node.pushed((to) => sent.filter(isFor(to)).length);
  for (const { message } of pushed) check(message);
  for (const to of [node.alice, node.bob]) {
    const came = pushed.filter((one) => one.to === to && one.message.msgid !== Msg.PRESENCE);
    const expected = sent.filter(isFor(to));
    for (const { sender, peer } of expected) {
      const seqs = (all: readonly { id: number; of: number; seq: number }[]) =>
        all.filter(({ id, of }) => of === peer && (peer < 0 || id === sender)).map(({ seq }) => seq);
      assertEquals(
        seqs(came.map(({ message }) => ({ id: message.id!, of: peerOf(message), seq: message.seq! }))),
        seqs(expected.map((one) => ({ id: one.sender, of: one.peer, seq: one.seq }))),
      );
    }
    assertEquals(came.length, expected.length);
  }
}

/** Returns the recipient of a pushed message: the id of a user, or minus that of a group. */
function peerOf({ toid, groupid }: Received): number {
  return toid ?? -groupid!;
}

/** Checks that acknowledged messages are in the log unchanged. */
async function checkLog(node: HostileNode, sent: readonly Sent[]): Promise<void> {
  for (const reader of [node.alice, node.bob]) {
    for (const peer of new Set(sent.map((one) => one.peer === reader.id ? one.sender : one.peer))) {
      if (peer !== -node.group && !sent.some((one) => one.peer === reader.id && one.sender === peer)) {
        continue;
      }
      const whose = peer > 0 ? { id: peer } : { groupid: -peer };
      const { messages } = await reader.succeed({ msgid: Msg.HISTORY, ...whose, limit: 200 });
      const mine = sent.filter((one) =>
        peer > 0 ? one.sender === peer && one.peer === reader.id : one.peer === peer
      );
      for (const { sender, seq, msg, cid } of mine) {
        const kept = messages!.find((message) => message.seq === seq);
        assertEquals([kept?.id, kept?.msg, kept?.cid], [sender, msg, cid ?? kept?.cid]);
      }
    }
  }
}
