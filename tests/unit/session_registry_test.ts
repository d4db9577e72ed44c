/** The sessions of a node, and the subscriptions that it has for them. */
import { assertEquals } from "@std/assert";
import type { Bus } from "../../lib/bus/bus.ts";
import type { Session } from "../../lib/server/sessions/session.ts";
import { SessionRegistry } from "../../lib/server/sessions/session_registry.ts";

const GROUP = 7;

Deno.test("session registry: a join waits for the subscription that an earlier join has requested (I3)", async () => {
  const subscribed = Promise.withResolvers<void>();
  const subscriptions: number[] = [];
  const bus = {
    subscribe(channel: number) {
      subscriptions.push(channel);
      return channel < 0 ? subscribed.promise : Promise.resolve();
    },
  };
  const registry = new SessionRegistry(bus as unknown as Bus);
  const groups = new Set<number>();
  const session = { user: 1, groups, addGroup: (group: number) => groups.add(group) } as unknown as Session;
  await registry.add(session);
  const done: string[] = [];
  const joins = ["first", "second"].map((name) => registry.join(session, GROUP).then(() => done.push(name)));
  await new Promise((resolve) => setTimeout(resolve));
  assertEquals(done, [], "the node does not receive the group's messages yet");
  subscribed.resolve();
  await Promise.all(joins);
  assertEquals(subscriptions, [1, -GROUP]);
  assertEquals([...registry.groupMembers(GROUP)], [session]);
});
