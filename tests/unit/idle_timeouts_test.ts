/** The timeouts of a connection, at times that the test chooses. */
import { assertEquals } from "@std/assert";
import { defaults } from "../../lib/config/config.ts";
import type { Client } from "../../lib/server/sessions/client.ts";
import { INTERACTIVE } from "../../lib/server/scheduling/classes.ts";
import { checkAllTimeouts, checkTimeouts } from "../../lib/server/sessions/idle_timeouts.ts";

const config = { ...defaults(), loginTimeout: 1_000, pingInterval: 1_000, pongTimeout: 500 };

/** Returns a client that logs what is done with it. */
function fakeClient(session: object | undefined) {
  const log: string[] = [];
  const connection = {
    isOpen: true,
    isPaused: false,
    inFlight: 0,
    requestsStarted: 1,
    bufferedAmount: 0,
    bytesSinceLastRead: 0,
    lastReadAt: 0,
    dialect: { name: "framed" },
    send: () => log.push("ping"),
    end: () => log.push("end"),
  };
  const client = {
    node: { log: { debug: () => {} } },
    connection,
    session,
    awaitsProxyHeader: false,
    unauthenticatedSince: 0,
    lastPingAt: -Infinity,
    deadlineRequestCount: undefined,
    endSession: () => log.push("release"),
  };
  return {
    log,
    connection,
    client: client as unknown as Client,
    check: (now: number) => checkTimeouts(client as unknown as Client, now, config),
  };
}

Deno.test("timeouts: a silent client gets a PING, and loses its session at once without a reply", () => {
  const { log, check } = fakeClient({});
  for (const now of [999, 1_000, 1_499]) check(now);
  assertEquals(log, ["ping"]);
  check(1_500);
  assertEquals(log, ["ping", "release", "end"]);
});

Deno.test("timeouts: a client is not silent while its connection is paused or a request is in flight", () => {
  const { log, connection, check } = fakeClient({});
  connection.isPaused = true;
  check(5_000);
  connection.isPaused = false;
  connection.inFlight = 1;
  check(5_000);
  assertEquals(log, []);
});

Deno.test("timeouts: a login in flight at the deadline may end, and no later one", () => {
  const { log, connection, check } = fakeClient(undefined);
  connection.inFlight = 1;
  for (const now of [1_000, 60_000]) check(now);
  assertEquals(log, []);
  connection.requestsStarted = 2;
  check(61_000);
  assertEquals(log, ["release", "end"]);
});

Deno.test("timeouts: other work runs between the time slices of a check of all clients", async () => {
  const order: string[] = [];
  const clients = [1, 2].map((number) => {
    const { connection, client } = fakeClient({});
    connection.lastReadAt = -config.pingInterval; // due for a PING
    connection.send = () => {
      for (const end = performance.now() + 2 * INTERACTIVE.timeSliceMs; performance.now() < end;);
      return order.push(`ping ${number}`);
    };
    return client;
  });
  const eventLoop = {
    yieldToIo: () => {
      order.push("yield");
      return Promise.resolve();
    },
  };
  await checkAllTimeouts(clients, config, eventLoop);
  assertEquals(order, ["ping 1", "yield", "ping 2"]);
});
