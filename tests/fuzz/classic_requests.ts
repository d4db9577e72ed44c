/** What a classic client may send, as a target: only what C++ clients can read ever comes back. */
import { assert, assertEquals, assertLessOrEqual } from "@std/assert";
import { type ClassicReceived, Msg } from "../harness/protocol_numbers.ts";
import { type Arrival, classicBytes, ClassicClient } from "../harness/classic_client.ts";
import { type FramedClient, freshName } from "../harness/framed_client.ts";
import { joined } from "../harness/frames.ts";
import { hostileBody, LOGIN } from "./hostile.ts";
import { mutated } from "./mutate.ts";
import type { Account, HostileNode } from "./node.ts";
import { randomOf, type Target } from "./target.ts";

const MAX_OBJECTS = 20; // of an input at the most
const MAX_OBJECT_BYTES = 2_000; // bytes of an object: all of them as one, if none is closed, are not over the maximum, which is an end
const MAX_SENT_BYTES = 1_023; // bytes of what is sent to these clients, as the server's default
const encoder = new TextEncoder();

/** The fields that each message may have, and no others: these clients know no more. */
const FIELDS: Readonly<Record<number, readonly string[]>> = {
  [Msg.LOGIN_ACK]: ["errno", "errmsg", "retry_after", "id", "name", "friends", "groups", "offlinemsg"],
  [Msg.REGISTER_ACK]: ["errno", "errmsg", "retry_after", "id"],
  [Msg.ONE_CHAT]: ["id", "name", "toid", "msg", "time"],
  [Msg.GROUP_CHAT]: ["id", "name", "groupid", "msg", "time"],
};

/** What comes from classic clients to a node. */
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
        assertEquals(users.get(message.id!), message.name, `nobody sent ${JSON.stringify(message)}`);
      }
      await node.isWell(arrivals);
    },
  };
}

/** All that the server sends to who sends these bytes, in pieces of so many. */
async function answersTo(node: HostileNode, script: Uint8Array, piece: number): Promise<Arrival[]> {
  await using client = await ClassicClient.connect(node);
  const last = { msgid: Msg.REGISTER, name: freshName("last"), password: "correct horse" };
  // What is open ends at the NUL. That the name is taken by then is the last thing to be said.
  const bytes = joined(
    encoder.encode("{}\0"),
    script,
    encoder.encode("\0"),
    classicBytes(last),
    classicBytes(last),
  );
  for (let at = 0; at < bytes.length; at += piece) {
    client.sendBytes(bytes.subarray(at, at + piece)).catch(() => {}); // the missing reply will tell
  }
  await client.next(({ errmsg }) => errmsg?.includes(last.name) ?? false);
  return client.drain();
}

/** How many messages a user has got from these new users: as there is no ACK, the log tells. */
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
