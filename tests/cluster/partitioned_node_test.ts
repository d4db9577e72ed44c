/** Two nodes in this process on a real Redis, whose hints are lost by a partition or by refusals of Redis. */
import { assertEquals } from "@std/assert";
import type { Bus, Hint } from "../../lib/bus/bus.ts";
import { RedisBus } from "../../lib/bus/redis/redis_bus.ts";
import { Log } from "../../lib/log.ts";
import { Msg } from "../harness/protocol_numbers.ts";
import { type FramedClient, newUser } from "../harness/framed_client.ts";
import { withNodes, wrapped } from "../harness/nodes.ts";
import { SECRET, startRedis } from "../harness/redis.ts";
import { Relay } from "../harness/relay.ts";
import { until, within } from "../harness/wait.ts";

/** Messages, each of which is sent after the delivery of the one before. */
const MESSAGES = 5;

/** Milliseconds for all of them. The periodic reconciliations would bring only some in this time. */
const DELIVERY_TIMEOUT_MS = 40_000;

/** Returns a wrapper that connects the nodes, in order, to the buses at these addresses. */
function overRedis(urls: readonly string[]): (bus: Bus) => Bus {
  const left = [...urls];
  return () => new RedisBus([left.shift()!], new Log("error", "text", () => {}), "d", SECRET);
}

async function oneByOne(from: FramedClient, to: FramedClient): Promise<void> {
  for (let i = 0; i < MESSAGES; i++) {
    await from.chat(to.id, `${i}`);
    assertEquals((await to.next(Msg.ONE_CHAT)).msg, `${i}`);
  }
}

Deno.test("partitioned node: messages from it and to it arrive through the store in seconds", async () => {
  await using redis = await startRedis();
  await using relay = new Relay({ host: "127.0.0.1", port: redis.port });
  const bus = overRedis([redis.url, `redis://127.0.0.1:${relay.port}`]);
  await withNodes(2, async (a, b) => {
    await using alice = await newUser(b!);
    await using bob = await newUser(a!);
    await oneByOne(alice, bob);
    relay.decide = () => "cut";
    await within(oneByOne(alice, bob), "messages of the node that is cut off", DELIVERY_TIMEOUT_MS);
    await within(oneByOne(bob, alice), "messages to the node that is cut off", DELIVERY_TIMEOUT_MS);
    relay.decide = () => "pass";
    await within(oneByOne(alice, bob), "messages of the node that is back", DELIVERY_TIMEOUT_MS);
  }, { bus });
});

Deno.test("refused PUBLISH: users that left are shown as offline when Redis accepts hints again", async () => {
  await using redis = await startRedis();
  const real = overRedis([redis.url, redis.url]);
  let told = 0;
  const bus = (bus: Bus) =>
    wrapped(real(bus), (name, go, args) => {
      if (name === "publish" && (args[1] as Hint).kind === "presence") told++;
      return go();
    });
  await withNodes(2, async (a, b) => {
    await using alice = await newUser(a!);
    const bob = await newUser(b!);
    await alice.succeed({ msgid: Msg.ADD_FRIEND, friendid: bob.id });
    const before = told;
    await redis.command("ACL", "SETUSER", "default", "-publish");
    await bob.close();
    await until(() => told > before, "the hint that bob is gone");
    const refused = async () =>
      Number(
        /cmdstat_publish:.*rejected_calls=(\d+)/.exec(await redis.command("INFO", "commandstats"))?.[1] ?? 0,
      );
    const some = await refused();
    await until(async () => await refused() > some + 4, "refused heartbeats behind the refused hint");
    assertEquals(alice.drain(), []);
    await redis.command("ACL", "SETUSER", "default", "+publish");
    const { id, state } = await alice.next(Msg.PRESENCE);
    assertEquals([id, state], [bob.id, "offline"]);
  }, { bus });
});
