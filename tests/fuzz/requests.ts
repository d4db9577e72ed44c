/**
 * Scripts of hostile requests as a target: a line is a body, all are sent at once by a framed client, and each gets
 * the one reply that it must have.
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
const MAX_LINES = 30; // of a script at the most
const MAX_BODY_BYTES = 60_000; // bytes of a body, before it is known what its placeholders stand for: over the maximum is an end
const encoder = new TextEncoder();

/** The fields that a reply or a push may have besides msgid and rid, by msgid: nothing else gets out. */
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

/** A body as an object, as far as it is one. */
type Body = Readonly<Record<string, unknown>>;

/** A message that was acknowledged. */
interface Sent {
  readonly sender: number;
  readonly peer: number;
  readonly seq: number;
  readonly msg: unknown;
  readonly cid: unknown;
}

/** Requests to a node. */
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

/** All that the server sends to who sends these bodies, in pieces of so many bytes. */
async function answersTo(
  node: HostileNode,
  bodies: readonly Uint8Array[],
  piece: number,
): Promise<Received[]> {
  await using client = await FramedClient.connect(node);
  const last = { msgid: Msg.PING, rid: crypto.randomUUID() };
  const bytes = joined(...bodies.map((body) => frame(body)), frame(JSON.stringify(last)));
  for (let at = 0; at < bytes.length; at += piece) {
    client.sendBytes(bytes.subarray(at, at + piece)).catch(() => {}); // the missing reply will tell
  }
  await client.next(({ rid }) => rid === last.rid);
  return client.drain();
}

/** The reply that a body must get; undefined if it gets none. */
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

/** Checks the replies to these bodies, and gives the messages that were acknowledged. */
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

/** A page has messages of the conversation that was asked for, in order. */
function checkHistory(me: number, { id, groupid, messages }: Received): void {
  for (const [at, message] of messages!.entries()) {
    if (at > 0) assertEquals(message.seq, messages![at - 1]!.seq! + 1);
    if (groupid !== undefined) assertEquals([message.msgid, message.groupid], [Msg.GROUP_CHAT, groupid]);
    else assertEquals(new Set([message.id, message.toid]), new Set([me, id]));
  }
}

/** No user is pushed anything but what was sent, by its sender; and the honest users all of it, in order. */
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
    assert(found, `nobody sent ${JSON.stringify(message)}`);
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

/** Whom a pushed message was sent to: a user's id, or minus a group's. */
function peerOf({ toid, groupid }: Received): number {
  return toid ?? -groupid!;
}

/** What was acknowledged is in the log as it was sent. */
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
