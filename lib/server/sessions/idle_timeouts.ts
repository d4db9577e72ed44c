/** Timeouts: closes connections that do not log in, are silent, or do not read. */
import type { Config } from "../../config/options.ts";
import { Msg } from "../../wire/protocol.ts";
import type { EventLoop } from "../scheduling/event_loop.ts";
import { INTERACTIVE } from "../scheduling/classes.ts";
import type { Client } from "./client.ts";

/** Bytes per millisecond that a live client reads at least: the rate of a 1990s modem. */
const MIN_READ_BYTES_PER_MS = 4;
/** Milliseconds in which a client can read the NOTICE. A silent client seldom does. */
const CLOSE_TIMEOUT_MS = 1_000;

/**
 * Checks the timeouts of all clients, with a yield after each time slice. After a restart, thousands of clients
 * are due for a PING at the same time: all in one go would delay all other work.
 */
export async function checkAllTimeouts(
  clients: Iterable<Client>,
  config: Config,
  eventLoop: Pick<EventLoop, "yieldToIo">,
): Promise<void> {
  let sliceEnd = performance.now() + INTERACTIVE.timeSliceMs;
  for (const client of clients) {
    let now = performance.now();
    if (now > sliceEnd) {
      await eventLoop.yieldToIo();
      now = performance.now();
      sliceEnd = now + INTERACTIVE.timeSliceMs;
    }
    checkTimeouts(client, now, config);
  }
}

/**
 * Closes a connection if one of its timeouts has expired at `now` (by `performance.now`). Called
 * periodically.
 */
export function checkTimeouts(client: Client, now: number, config: Config): void {
  const { connection } = client;
  if (!connection.isOpen) return;
  if (connection.bufferedAmount > 0 && now - connection.lastWriteAt > config.writeStallTimeout) {
    // No notice is sent: the client does not read.
    client.node.log.debug("closed: the client does not read", {
      from: client.remoteAddress,
      waiting: connection.bufferedAmount,
    });
    connection.abort();
  } else if (client.awaitsProxyHeader) checkHeader(client, now, config);
  else if (!client.session) checkLogin(client, now, config);
  else if (
    connection.bufferedAmount === 0 && connection.inFlight === 0 && !connection.isPaused &&
    connection.dialect?.name === "framed"
  ) {
    checkSilence(client, now, config);
  }
}

/** Closes a connection without a PROXY header. Before the header, its client and its dialect are unknown. */
function checkHeader(client: Client, now: number, config: Config): void {
  if (now - client.unauthenticatedSince < config.proxyHeaderTimeout) return;
  if (!client.isHeaderOverdue) {
    client.isHeaderOverdue = true; // a busy node reads a header that has arrived before the next check
    return;
  }
  client.node.log.debug("closed: no PROXY header in time", { from: client.remoteAddress });
  client.connection.abort();
}

/**
 * Closes a client that does not log in. A login that has begun in time may be completed, also if it is
 * queued.
 */
function checkLogin(client: Client, now: number, { loginTimeout }: Config): void {
  const { connection } = client;
  if (now - client.unauthenticatedSince < loginTimeout) return;
  const isFirstCheck = client.deadlineRequestCount === undefined;
  client.deadlineRequestCount ??= connection.requestsStarted;
  if (
    connection.inFlight > 0 && (isFirstCheck || connection.requestsStarted === client.deadlineRequestCount)
  ) return;
  close(client, "no login in time");
}

/**
 * Closes a framed client that does not reply to PING. For classic clients see `isStale` in
 * session_lifecycle.ts.
 */
function checkSilence(client: Client, now: number, { pingInterval, pongTimeout }: Config): void {
  const { connection } = client;
  if (now - connection.lastReadAt < pingInterval) return;
  if (client.lastPingAt < connection.lastReadAt) {
    client.lastPingAt = now;
    connection.send({ msgid: Msg.PING });
    return;
  }
  // The kernel may buffer megabytes, which a slow client reads before the PING.
  if (now - client.lastPingAt >= pongTimeout + connection.bytesSinceLastRead / MIN_READ_BYTES_PER_MS) {
    close(client, "no reply to PING");
  }
}

function close(client: Client, reason: string): void {
  client.node.log.debug(`closed: ${reason}`, { from: client.remoteAddress });
  void client.endSession(); // releases the account at once, and not only when the connection is closed
  void client.connection.end({ msgid: Msg.NOTICE, kind: "closing", errmsg: reason }, CLOSE_TIMEOUT_MS);
}
