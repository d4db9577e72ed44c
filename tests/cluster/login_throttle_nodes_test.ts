/** The login throttle: workers and nodes count together, and each alone during a partition. */
import { assertEquals } from "@std/assert";
import { RedisBus } from "../../lib/bus/redis/redis_bus.ts";
import { defaults } from "../../lib/config/config.ts";
import { Log } from "../../lib/log.ts";
import { ACCOUNT_REASON, assertLimited } from "../protocol/login_throttle_fixture.ts";
import { Errno, Msg, type Received } from "../harness/protocol_numbers.ts";
import { FramedClient, login, PASSWORD, register } from "../harness/framed_client.ts";
import { withNodes } from "../harness/nodes.ts";
import { Outage } from "../harness/outage.ts";
import { SECRET, startRedis } from "../harness/redis.ts";
import { type Address, withServer } from "../harness/server.ts";
import { until } from "../harness/wait.ts";
import { events, WORKERS } from "../harness/workers.ts";

const quiet = new Log("error", "text", () => {});

Deno.test("login throttle: workers count together", () =>
  withServer(
    { args: [...WORKERS, "--max-failed-logins", "10", "--attempts-window", "12h"] },
    async (server) => {
      const id = await register(server);
      const replies: Received[] = [];
      for (let count = 0; count < 40; count++) {
        await using client = await FramedClient.connect(server);
        replies.push(await client.request({ msgid: Msg.LOGIN, id, password: "wrong" }));
      }
      assertEquals(replies.map(({ errno }) => errno), [
        ...new Array<number>(10).fill(Errno.FAILED),
        ...new Array<number>(30).fill(Errno.RATE_LIMITED),
      ]);
      const workers = await until(() => {
        const refused = events(server, "refused");
        return refused.length >= 40 ? new Set(refused.map(({ worker }) => worker)) : undefined;
      }, "all refusals to be logged");
      assertEquals(workers.size, 2);
    },
  ));

/** Returns the number of wrong passwords that a node accepts for an account. */
async function guesses(node: Address, id: number): Promise<number> {
  await using client = await FramedClient.connect(node);
  for (let count = 0;; count++) {
    const reply = await client.request({ msgid: Msg.LOGIN, id, password: "wrong" });
    if (reply.errno !== Errno.FAILED) {
      assertLimited(reply, ACCOUNT_REASON);
      return count;
    }
  }
}

Deno.test("login throttle: partitioned nodes count by themselves, and none is without limits", async () => {
  const outage = new Outage();
  const most = defaults().maxFailedLogins;
  await withNodes(2, async (a, b) => {
    const [id, other] = [await register(a), await register(a)];
    assertEquals([await guesses(a, id), await guesses(b, id)], [most, 0]);
    outage.begin();
    assertEquals([await guesses(a, id), await guesses(b, id)], [most, most]);
    await (await login(a, { id: other })).close(); // a correct password is refunded to its bucket
    assertEquals(await guesses(a, other), most);
    outage.end();
    assertEquals([await guesses(b, id), await guesses(a, id)], [0, 0]);
    assertEquals(await guesses(b, other), most);
  }, { bus: outage.bus });
});

Deno.test("login throttle: nodes count together in Redis, and each alone without it", async () => {
  await using redis = await startRedis();
  const most = defaults().maxFailedLogins;
  await withNodes(2, async (a, b) => {
    const id = await register(a);
    await (await login(b, { id })).close();
    await using both = new AsyncDisposableStack();
    const [atA, atB] = [both.use(await FramedClient.connect(a)), both.use(await FramedClient.connect(b))];
    for (let count = 0; count < most; count++) {
      const reply = await (count % 2 ? atA : atB).request({ msgid: Msg.LOGIN, id, password: "wrong" });
      assertEquals(reply.errno, Errno.FAILED);
    }
    for (const client of [atA, atB]) {
      assertLimited(await client.request({ msgid: Msg.LOGIN, id, password: PASSWORD }), ACCOUNT_REASON);
    }
    const keys = (await redis.command("KEYS", "chat:d:bucket:*")).split("\n").toSorted();
    assertEquals(keys, [`chat:d:bucket:{total:${id}}`, `chat:d:bucket:{wrong:${id}/exempt}`]);
    await redis.stop();
    assertEquals([await guesses(a, id), await guesses(b, id)], [most, most]);
  }, { bus: () => new RedisBus([redis.url], quiet, "d", SECRET) });
});

Deno.test("login throttle: logins need no locks and counts while Redis refuses writes", async () => {
  await using redis = await startRedis();
  await withNodes(1, async (node) => {
    const id = await register(node);
    await redis.command("CONFIG", "SET", "maxmemory", "1mb");
    await using alice = await login(node, { id });
    await alice.settle();
    await redis.command("CONFIG", "SET", "maxmemory", "0");
  }, { bus: () => new RedisBus([redis.url], quiet, "d", SECRET) });
});
