/**
 * The removal of a session is final (invariant I8): after the reply to a takeover or a LOGOUT the server
 * pushes nothing to the connection that had the session. Messages that the node had pushed before are not
 * meant.
 */
import { assertEquals } from "@std/assert";
import type { Store } from "../../lib/store/store.ts";
import { FramedClient, login, newUser, register } from "../harness/framed_client.ts";
import { withNodes, wrapped } from "../harness/nodes.ts";
import { Msg } from "../harness/protocol_numbers.ts";
import { sharedServer } from "../harness/server.ts";

// more than one, as the first may find the removed session and later ones not, or the reverse
const MESSAGES = 20;

/** The texts of the messages that a client has been pushed and a test has not read. */
function pushedTexts(client: FramedClient): (string | undefined)[] {
  return client.waiting.filter(({ msgid }) => msgid === Msg.ONE_CHAT).map(({ msg }) => msg);
}

for (const [where, other] of [["the same node", 0], ["another node", 1]] as const) {
  Deno.test(`I8: a session replaced on ${where} is pushed nothing sent after the takeover`, async () => {
    await withNodes(2, async (...nodes) => {
      await using replaced = await newUser(nodes[0]!);
      await using sender = await newUser(nodes[0]!);
      await sender.chat(replaced.id, "before");
      assertEquals((await replaced.next(Msg.ONE_CHAT)).msg, "before");
      await replaced.delivered({ id: sender.id }, 1);
      await using current = await FramedClient.connect(nodes[other]!);
      await current.login({ id: replaced.id }, { force: true });
      for (let at = 0; at < MESSAGES; at++) await sender.chat(replaced.id, `after ${at}`);
      const received = await current.take(MESSAGES, Msg.ONE_CHAT);
      assertEquals(received.map(({ msg }) => msg), received.map((_, at) => `after ${at}`));
      await replaced.serverCloses();
      assertEquals(pushedTexts(replaced), []);
    });
  });
}

sharedServer()(
  "I8: a connection is pushed nothing that is sent after the reply to its LOGOUT",
  async (server) => {
    await using sender = await newUser(server);
    await using client = await newUser(server);
    await client.succeed({ msgid: Msg.LOGOUT });
    for (let at = 0; at < MESSAGES; at++) await sender.chat(client.id, `after ${at}`);
    await client.settle();
    assertEquals(pushedTexts(client), []);
  },
);

Deno.test("I8: a connection is pushed nothing that was being read at its LOGOUT", async () => {
  const [asked, gate] = [Promise.withResolvers<void>(), Promise.withResolvers<void>()];
  const store = (real: Store) =>
    wrapped(real, async (name, go) => {
      if (name === "read") {
        asked.resolve();
        await gate.promise;
      }
      return await go();
    });
  await withNodes(1, async (node) => {
    await using sender = await newUser(node!);
    const id = await register(node!);
    await sender.chat(id, "unread");
    await using client = await login(node!, { id });
    await asked.promise;
    await client.succeed({ msgid: Msg.LOGOUT });
    gate.resolve();
    await client.settle();
    assertEquals(pushedTexts(client), []);
  }, { store });
});
