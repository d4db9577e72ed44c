/** The parts of a node that end with a history of the store, and with the node itself. */
import { assert, assertEquals } from "@std/assert";
import { LocalHub } from "../../lib/bus/local.ts";
import { defaults } from "../../lib/config/config.ts";
import { Log } from "../../lib/log.ts";
import { CommittedMessage } from "../../lib/server/delivery/delivery.ts";
import { Node } from "../../lib/server/node.ts";
import type { Session, SessionEndReason } from "../../lib/server/sessions/session.ts";
import { IN_MEMORY, SqliteStore } from "../../lib/store/sqlite/sqlite_store.ts";
import { wrapped } from "../harness/nodes.ts";
import { until } from "../harness/wait.ts";

const GROUP = 7;

/** Runs `work` with a node whose only session is pushed one message of a group after the other, without an end. */
async function withBusyGroup(
  work: (node: Node, pushed: () => number, ended: readonly SessionEndReason[]) => Promise<void>,
  epoch: () => string | undefined = () => undefined,
): Promise<void> {
  const real = await SqliteStore.open(IN_MEMORY, { friendsPerUser: 1, groupsPerUser: 1, membersPerGroup: 1 });
  const store = wrapped(real, async (name, go) => {
    const result = await go();
    return name === "identity" && epoch() ? { ...result as object, epoch: epoch() } : result;
  });
  const bus = new LocalHub().attach();
  const ended: SessionEndReason[] = [];
  const node = new Node(
    {
      config: { ...defaults(), argon2Memory: 8 },
      log: new Log("error", "text", () => {}),
      store,
      bus,
      now: Date.now,
    },
    (_session, reason) => ended.push(reason),
  );
  await node.open();
  let seq = 0;
  const addMessage = () => {
    const message = { seq: ++seq, sender: 2, senderName: "n", cid: `${seq}`, body: "b", time: 0 };
    node.fanOut.add(GROUP, new CommittedMessage(message, -GROUP));
  };
  const session = { user: 1, addGroup() {}, delivery: { deliver: addMessage } } as unknown as Session;
  await node.sessions.add(session);
  await node.sessions.join(session, GROUP);
  addMessage();
  try {
    await work(node, () => seq, ended);
  } finally {
    await node.close();
    await bus.close();
    await real.close();
  }
}

Deno.test("node: I9 pushes no message of a group that was committed in an earlier history", async () => {
  let epoch: string | undefined;
  await withBusyGroup(async (_node, pushed, ended) => {
    await until(() => pushed() > 3, "some pushes");
    epoch = "another";
    await until(() => ended.length > 0, "the new epoch");
    assertEquals(ended, ["store_restored"]);
    const before = pushed();
    await new Promise((resolve) => setTimeout(resolve, 50));
    assertEquals(pushed(), before);
  }, () => epoch);
});

Deno.test("node: pushes no message of a group after its end", async () => {
  await withBusyGroup(async (node, pushed) => {
    await until(() => pushed() > 3, "some pushes");
    await node.close();
    const before = pushed();
    assert(before > 3);
    await new Promise((resolve) => setTimeout(resolve, 50));
    assertEquals(pushed(), before);
  });
});
