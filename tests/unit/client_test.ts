/** The client of a connection, without a server. */
import { assert, assertEquals, assertGreaterOrEqual } from "@std/assert";
import type { Connection } from "../../lib/server/net/connection.ts";
import type { Node } from "../../lib/server/node.ts";
import { Client } from "../../lib/server/sessions/client.ts";
import type { Session } from "../../lib/server/sessions/session.ts";

function newClient(): Client {
  const node = { rateLimiters: { forUnauthenticated: () => undefined, forUser: () => undefined } };
  const address = { remoteAddress: "192.0.2.1:5000", slot: undefined };
  return new Client(node as unknown as Node, {} as Connection, address, new Map(), () => {});
}

Deno.test("client: its signal is aborted when it leaves, also if a login asks for the signal later", () => {
  const [early, late] = [newClient(), newClient()];
  const { signal } = early.requester("new");
  assertEquals(signal?.aborted, false);
  early.onLeave();
  late.onLeave();
  assert(signal?.aborted);
  assert(late.requester("new").signal?.aborted);
});

Deno.test("client: a logout starts the time to log in again", async () => {
  const client = newClient();
  client.deadlineRequestCount = 3;
  client.unauthenticatedSince = -Infinity;
  const before = performance.now();
  await client.detachSession();
  assertEquals(client.deadlineRequestCount, undefined);
  assertGreaterOrEqual(client.unauthenticatedSince, before);
});

Deno.test("client: the first registration starts the time to log in again, and no later one", () => {
  const client = newClient();
  assert(client.neverAuthenticated);
  client.unauthenticatedSince = -1;
  client.onRegistered();
  assertGreaterOrEqual(client.unauthenticatedSince, 0);
  assert(!client.neverAuthenticated);
  client.unauthenticatedSince = -1;
  client.onRegistered();
  assertEquals(client.unauthenticatedSince, -1);
});

Deno.test("client: holds the signal of a login no longer than the login, and later ones are aborted, too", () => {
  const client = newClient();
  const { signal } = client.requester("new");
  client.attachSession({ user: 1 } as Session);
  const later = client.requester("known").signal;
  assert(later !== signal);
  client.onLeave();
  assert(later?.aborted);
});
