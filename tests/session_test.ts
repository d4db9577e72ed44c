/** What a session tells its client of friends who come and go. */
import { assertEquals } from "@std/assert";
import type { Connection } from "../lib/server/connection.ts";
import type { DeliveryPorts } from "../lib/server/delivery.ts";
import { Session } from "../lib/server/session.ts";

const FRIEND = 6;

Deno.test("session: an offline that waits for room is not told behind a newer online", () => {
  const sent: { state?: string }[] = [];
  const connection = { hasRoom: true, send: (message: { state?: string }) => void sent.push(message) };
  const session = new Session(
    { id: 8, name: "eight" },
    1,
    connection as unknown as Connection,
    {} as DeliveryPorts,
  );
  session.start();
  session.tellPresence(FRIEND, true);
  connection.hasRoom = false;
  session.tellPresence(FRIEND, false);
  connection.hasRoom = true; // below the limit, and still above half of it: room() comes later
  session.tellPresence(FRIEND, true);
  session.room();
  assertEquals(sent.map(({ state }) => state), ["online"]);
  session.tellPresence(FRIEND, false);
  assertEquals(sent.at(-1)!.state, "offline");
});
