/** The bus within one process. */
import { assertEquals, assertRejects } from "@std/assert";
import { BusUnavailableError } from "../../lib/bus/bus.ts";
import { LocalHub } from "../../lib/bus/local.ts";
import { busContract } from "../cluster/bus_contract.ts";

busContract("local bus", () => {
  const hub = new LocalHub();
  const [a, b] = [hub.attach(), hub.attach()];
  return Promise.resolve({
    a,
    b,
    close: async () => {
      await a.close();
      await b.close();
    },
  });
});

Deno.test("local bus: grants a lock in the order of requests", async () => {
  const hub = new LocalHub();
  const [a, b] = [hub.attach(), hub.attach()];
  const order: number[] = [];
  const release = await a.lock(1);
  const waiting = [a, b, b, a].map(async (node, i) => {
    const release = await node.lock(1);
    order.push(i);
    await release();
  });
  await release();
  await Promise.all(waiting);
  assertEquals(order, [0, 1, 2, 3]);
  await Promise.all([a.close(), b.close()]);
});

Deno.test("local bus: nodes of different hubs are independent", async () => {
  const [a, b] = [new LocalHub().attach(), new LocalHub().attach()];
  await a.subscribe(1);
  assertEquals(await b.online([1]), new Set());
  await Promise.all([a.close(), b.close()]);
});

Deno.test("local bus: rejects a lock as unavailable when too many requests wait", async () => {
  const bus = new LocalHub().attach();
  await bus.lock(1);
  const waiting = Array.from({ length: 100_000 }, () => bus.lock(1));
  const closed = Promise.allSettled(waiting);
  await assertRejects(() => bus.lock(1), BusUnavailableError, "100000 requests wait");
  await (await bus.lock(2))();
  await bus.close();
  assertEquals(new Set((await closed).map(({ status }) => status)), new Set(["rejected"]));
});
