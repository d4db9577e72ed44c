/** The PRESENCE messages of a session. */
import { assertEquals } from "@std/assert";
import type { Connection } from "../../lib/server/net/connection.ts";
import type { DeliveryDeps } from "../../lib/server/delivery/delivery.ts";
import { Session } from "../../lib/server/sessions/session.ts";

const FRIEND = 6;

/** Returns a session, its connection, and the states of the friend that the client is sent. */
function newSession() {
  const told: (string | undefined)[] = [];
  const connection = { isWritable: true, send: ({ state }: { state?: string }) => void told.push(state) };
  const session = new Session(
    { id: 8, name: "eight" },
    1,
    connection as unknown as Connection,
    {} as DeliveryDeps,
  );
  return { session, connection, told };
}

/** Resolves when the messages that follow a reply have been sent. */
async function answered(): Promise<void> {
  await new Promise((resolve) => setTimeout(resolve));
}

Deno.test("session: drops a pending offline when a newer online is sent", () => {
  const { session, connection, told } = newSession();
  session.start();
  session.pushPresence(FRIEND, true);
  connection.isWritable = false;
  session.pushPresence(FRIEND, false);
  connection.isWritable = true; // below the limit, and still above half of it: onDrain comes later
  session.pushPresence(FRIEND, true);
  session.onDrain();
  assertEquals(told, ["online"]);
  session.pushPresence(FRIEND, false);
  assertEquals(told.at(-1), "offline");
});

Deno.test("session: drops changes from before a login reply fetched the states", async () => {
  const { session, told } = newSession();
  session.pushPresence(FRIEND, true);
  await session.syncPresence(() => Promise.resolve([]));
  session.start();
  await answered();
  assertEquals(told, []);
});

Deno.test("session: sends changes after a reply when they came while it fetched the states", async () => {
  for (const started of [false, true]) {
    const { session, told } = newSession();
    if (started) session.start();
    await session.syncPresence(() => {
      session.pushPresence(FRIEND, false);
      return Promise.resolve([FRIEND]); // so says the answer
    });
    session.start();
    await answered();
    assertEquals(told, ["offline"], started ? "CONTACTS" : "a login");
    await session.syncPresence(() => {
      session.pushPresence(FRIEND, true);
      return Promise.resolve([FRIEND]);
    });
    await answered();
    assertEquals(told, ["offline", "online"], "news is told once");
  }
});
