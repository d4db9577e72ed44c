/** Hints that another client of Redis forges or replays while users of two nodes chat. */
import { assert, assertEquals } from "@std/assert";
import { Redis as Client } from "ioredis";
import { type Cluster, clusterTest } from "../harness/cluster.ts";
import { Msg } from "../harness/protocol_numbers.ts";
import { FramedClient, newGroup } from "../harness/framed_client.ts";
import { disconnect } from "../harness/redis.ts";
import { until } from "../harness/wait.ts";

const HEADING = "0123456789abcdef1"; // a sender and the version
const ROUNDS = 3;

/** Unsigned payloads of every kind that would harm a user if nodes accepted them. */
function forgeries(peer: number, group: number, nextSeq: number): string[] {
  const message = ["m", nextSeq, peer, "forged", `forged ${nextSeq}`, "forged", 1_700_000_000_000];
  const plain = [
    ...[message, ["t", 2 ** 53 - 1], ["g", group], ["p", peer], ["l"], ["h"], ["b"], ["e"]],
    ...[["h", 2 ** 53 - 1], ["b", 2 ** 53 - 1], ["e", 2 ** 53 - 1]],
  ].map((array) => JSON.stringify(array));
  const signed = plain.map((array) => `${array.slice(0, -1)},"0123456789abcdef"]`);
  return [...plain, ...signed].map((array) => HEADING + array);
}

/** Returns the log lines of all nodes. */
function logs(cluster: Cluster): string {
  return cluster.nodes.map((node) => node.log()).join("\n");
}

clusterTest(
  "forgery: whatever is published, no user is kicked, no message hidden and no link torn down",
  { nodes: 2 },
  async (cluster, open) => {
    const [alice, bob] = await cluster.usersApart(open);
    const [carol] = await cluster.usersApart(open); // on the first node, in no group
    await alice!.succeed({ msgid: Msg.ADD_FRIEND, friendid: bob!.id });
    const group = await newGroup(alice!, [bob!]);
    const [{ deployment }] = await cluster.database.sql("SELECT deployment FROM StoreIdentity") as [
      { deployment: string },
    ];
    const prefix = `chat:${deployment}:`;
    const [recorder, other] = [1, 2].map(() => new Client(cluster.redis.url)) as [Client, Client];
    for (const client of [recorder, other]) open.defer(() => disconnect(client));
    const published: [string, string][] = [];
    recorder.on("pmessage", (_, channel: string, payload: string) => published.push([channel, payload]));
    await recorder.psubscribe(`${prefix}*`);

    // The recording has hints of every kind: messages, a takeover and its presence.
    await alice!.chat(bob!.id, "one");
    await alice!.groupChat(group, "all one");
    const taker = open.use(await FramedClient.connect(cluster.node(1)));
    await taker.login({ id: carol!.id }, { force: true });
    assertEquals((await carol!.next(Msg.NOTICE)).kind, "kicked");
    for (const client of [alice!, bob!]) await client.settle();
    assertEquals(bob!.drain().map(({ msg }) => msg), ["one", "all one"]);
    alice!.drain();

    const users = [alice!.id, bob!.id, taker.id];
    for (let round = 0; round < ROUNDS; round++) {
      for (const [channel, payload] of [...published]) {
        await other.publish(channel, payload);
        for (const user of users) await other.publish(`${prefix}u:{${user}}`, payload);
        await other.publish(`${prefix}g:{${group}}`, payload);
        await other.publish(`${prefix}{nodes}`, payload);
      }
      for (const channel of [...users.map((user) => `u:{${user}}`), `g:{${group}}`, "{nodes}"]) {
        for (const payload of forgeries(alice!.id, group, 2)) await other.publish(prefix + channel, payload);
      }
    }
    const kinds = new Set(published.map(([, payload]) => payload.slice(HEADING.length, HEADING.length + 4)));
    for (const kind of ['["m"', '["t"', '["b"']) assert(kinds.has(kind), `${kind} recorded`);
    await until(() => logs(cluster).includes("without this deployment's signature"), "the log to tell of it");

    // Only the genuine messages with these seqs arrive.
    assertEquals((await alice!.chat(bob!.id, "two")).seq, 2);
    await alice!.groupChat(group, "all two");
    assertEquals((await bob!.next(Msg.ONE_CHAT)).msg, "two");
    assertEquals((await bob!.next(Msg.GROUP_CHAT)).msg, "all two");
    for (const client of [alice!, bob!]) {
      await client.settle();
      assertEquals(client.drain(), []);
    }
    const { messages } = await bob!.succeed({ msgid: Msg.HISTORY, id: alice!.id });
    assertEquals(messages!.map(({ msg }) => msg), ["one", "two"]);
    assert(!logs(cluster).includes("no connection to the other nodes"));
  },
);
