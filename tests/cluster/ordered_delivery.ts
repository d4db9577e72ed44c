/** Messages arrive in order and once when many users on several nodes chat at the same time. */
import { assertEquals, assertGreaterOrEqual } from "@std/assert";
import type { Cluster } from "../harness/cluster.ts";
import { Errno, Msg, type Received } from "../harness/protocol_numbers.ts";
import { type FramedClient, login, register } from "../harness/framed_client.ts";

const PAIRS = 50;
const MAX_IN_FLIGHT = 32; // messages of each user in flight
const MESSAGES_PER_USER = 100; // messages of each user

/** Sends a user's messages in order, MAX_IN_FLIGHT at a time, and returns their acknowledgements. */
async function sendAll(from: FramedClient, to: FramedClient): Promise<Received[]> {
  const acks: Received[] = [];
  const texts = Array.from({ length: MESSAGES_PER_USER }, (_, at) => `${at}`).entries();
  await Promise.all(Array.from({ length: MAX_IN_FLIGHT }, async () => {
    for (const [at, text] of texts) acks[at] = await from.chat(to.id, text, `${from.id} ${at}`);
  }));
  return acks;
}

/** Lets each pair chat in both directions at once, and asserts that both receive all messages in order. */
export async function assertOrderedDelivery(cluster: Cluster, open: AsyncDisposableStack): Promise<void> {
  const ids = await Promise.all(Array.from({ length: 2 * PAIRS }, () => register(cluster.nginx)));
  const users: FramedClient[] = [];
  // one after the other, so that nginx spreads them
  for (const id of ids) users.push(open.use(await login(cluster.nginx, { id })));
  const pairs = Array.from({ length: PAIRS }, (_, at) => [users[2 * at]!, users[2 * at + 1]!] as const);
  const places = await Promise.all(ids.map((id) => cluster.whereIs(id)));
  const apart = pairs.filter((_, at) => places[2 * at] !== places[2 * at + 1]).length;
  assertGreaterOrEqual(apart, PAIRS / 3, "pairs are on different nodes");

  await Promise.all(pairs.map(async ([a, b]) => {
    const [acksOfA, acksOfB] = await Promise.all([sendAll(a, b), sendAll(b, a)]);
    assertEquals([...acksOfA, ...acksOfB].filter(({ errno }) => errno !== Errno.OK), []);
    const seqs = [...acksOfA, ...acksOfB].map(({ seq }) => seq!).sort((x, y) => x - y);
    assertEquals(seqs, seqs.map((_, at) => at + 1), "every seq was given out once");
    for (const [from, to, acks] of [[a, b, acksOfA], [b, a, acksOfB]] as const) {
      const got = await to.take(MESSAGES_PER_USER, Msg.ONE_CHAT);
      assertEquals(got.map(({ msg, id }) => [msg, id]), acks.map((_, at) => [`${at}`, from.id]));
      assertEquals(got.map(({ seq }) => seq), acks.map(({ seq }) => seq));
    }
  }));
  for (const user of users) {
    await user.settle();
    assertEquals(user.drain(), [], "no message arrived twice");
  }
}
