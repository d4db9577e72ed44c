/** Requests of classic clients as a target: the server sends only messages that the C++ clients can read. */
import { assert, assertEquals, assertLessOrEqual } from "@std/assert";
import { type ClassicReceived, Msg } from "../harness/protocol_numbers.ts";
import { type Arrival, classicBytes, ClassicClient } from "../harness/classic_client.ts";
import { type FramedClient, freshName } from "../harness/framed_client.ts";
import { joined } from "../harness/frames.ts";
import { hostileBody, LOGIN } from "./hostile.ts";
import { mutated } from "./mutate.ts";
import type { Account, HostileNode } from "./node.ts";
import { randomOf, type Target } from "./target.ts";

const MAX_OBJECTS = 20; // in one input
// bytes of an object, so that all objects together are below the maximum, which ends the connection
const MAX_OBJECT_BYTES = 2_000;
const MAX_SENT_BYTES = 1_023; // bytes of a message to these clients, the server's default
const encoder = new TextEncoder();

/** The only fields that each message may have, as these clients know no others. */
const FIELDS: Readonly<Record<number, readonly string[]>> = {
  [Msg.LOGIN_ACK]: ["errno", "errmsg", "retry_after", "id", "name", "friends", "groups", "offlinemsg"],
  [Msg.REGISTER_ACK]: ["errno", "errmsg", "retry_after", "id"],
  [Msg.ONE_CHAT]: ["id", "name", "toid", "msg", "time"],
  [Msg.GROUP_CHAT]: ["id", "name", "groupid", "msg", "time"],
};

/** The target: requests of classic clients to a node. */
export function classicRequests(node: HostileNode): Target {
  return {
    name: "classic-requests",
    generate(random) {
      const pieces = Array.from({ length: 1 + random.below(MAX_OBJECTS) }, () => {
        const body = random.below(4) > 0
          ? hostileBody(random).subarray(0, MAX_OBJECT_BYTES)
          : encoder.encode(LOGIN);
        const whole = joined(body, encoder.encode(random.pick(["\0", "\0", "", "\n", "\0\0", "}"])));
        return random.below(25) > 0 ? whole : mutated(random, whole, 1);
      });
      return joined(...pieces);
    },
    async check(input) {
      const account = await node.account();
      const script = node.script(input, account);
      const arrivals = await answersTo(node, script, randomOf(input).below(2_000) + 1);
      const users = new Map<number, string>();
      for (const { message, bytes } of arrivals) {
        assertLessOrEqual(bytes, MAX_SENT_BYTES);
        checkMessage(message, account);
        if (message.msgid === Msg.LOGIN_ACK && message.errno === 0) users.set(message.id!, message.name!);
      }
      const counts = new Map<FramedClient, number>();
      for (const to of [node.alice, node.bob]) counts.set(to, await countFrom(node, to, [...users.keys()]));
      for (const { message } of await node.pushed((to) => counts.get(to)!)) {
        if (message.msgid === Msg.PRESENCE) continue;
        assertEquals(users.get(message.id!), message.name, `no user sent ${JSON.stringify(message)}`);
      }
      await node.isWell(arrivals);
    },
  };
}

/** Sends bytes in parts of a size, and returns all messages of the server. */
async function answersTo(node: HostileNode, script: Uint8Array, piece: number): Promise<Arrival[]> {
  await using client = await ClassicClient.connect(node);
  const last = { msgid: Msg.REGISTER, name: freshName("last"), password: "correct horse" };
  // The NUL ends an open object. The last request registers a name that is in use by then.
  const bytes = joined(
    encoder.encode("{}\0"),
    script,
    encoder.encode("\0"),
    classicBytes(last),
    classicBytes(last),
  );
  for (let at = 0; at < bytes.length; at += piece) {
    client.sendBytes(bytes.subarray(at, at + piece)).catch(() => {}); // a missing reply makes the check fail
  }
  await client.next(({ errmsg }) => errmsg?.includes(last.name) ?? false);
  return client.drain();
}

/** Returns the number of messages in the log from new users to a user, as the dialect has no ACK. */
async function countFrom(node: HostileNode, to: FramedClient, users: readonly number[]): Promise<number> {
  let count = 0;
  for (const whose of [...users.map((id) => ({ id })), { groupid: node.group }]) {
    const { messages } = await to.succeed({ msgid: Msg.HISTORY, ...whose, limit: 200 });
    count += messages!.filter(({ id }) => users.includes(id!)).length;
  }
  return count;
}

function checkMessage(message: ClassicReceived, { id, name }: Account): void {
  const show = JSON.stringify(message);
  const { msgid, ...fields } = message;
  for (const field of Object.keys(fields)) assert(FIELDS[msgid]?.includes(field), `${field} in ${show}`);
  if (msgid === Msg.ONE_CHAT || msgid === Msg.GROUP_CHAT) {
    for (const field of ["id", "name", "msg", "time"]) assert(field in fields, `no ${field} in ${show}`);
    return;
  }
  assertEquals(message.errno === 0, message.errmsg === undefined, show);
  if (msgid === Msg.LOGIN_ACK && message.id === id) assertEquals(message.name, name);
  for (const list of [message.friends, message.groups, message.offlinemsg]) {
    assert(list === undefined || list.length > 0, show);
    for (const item of list ?? []) assertEquals(typeof JSON.parse(item), "object");
  }
}
