/**
 * Finds connections that are not used: that never log in, have gone silent, or take nothing of what they are
 * sent.
 */
import type { Config } from "../../config/options.ts";
import { Msg } from "../../wire/protocol.ts";
import type { Client } from "./client.ts";

const MIN_READ_BYTES_PER_MS = 4; // bytes per ms: who reads more slowly than a 1990s modem is taken for dead
const CLOSE_TIMEOUT_MS = 1_000; // ms to take the NOTICE: a client that is closed for silence hardly reads it

/** Looks at one connection, at `now` by `performance.now`; called again and again. */
export function checkTimeouts(client: Client, now: number, config: Config): void {
  const { connection } = client;
  if (!connection.isOpen) return;
  if (connection.bufferedAmount > 0 && now - connection.lastWriteAt > config.writeStallTimeout) {
    // Nothing can be said to it: what was said before is not read either.
    client.node.log.debug("closed: it reads nothing", {
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

/** Until the header is there, it isn't known whom a connection counts for, nor what it could be told. */
function checkHeader(client: Client, now: number, config: Config): void {
  if (now - client.unauthenticatedSince < config.proxyHeaderTimeout) return;
  if (!client.isHeaderOverdue) {
    client.isHeaderOverdue = true; // a busy node may not have got to what is there: it does before the next look
    return;
  }
  client.node.log.debug("closed: no PROXY header in time", { from: client.remoteAddress });
  client.connection.abort();
}

/**
 * Closes a client that does not log in; but a login that was begun in time, and waits for its turn, may end.
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

/** A framed peer must answer a PING. A classic one can't be asked: see `abandoned` in entrance.ts. */
function checkSilence(client: Client, now: number, { pingInterval, pongTimeout }: Config): void {
  const { connection } = client;
  if (now - connection.lastReadAt < pingInterval) return;
  if (client.lastPingAt < connection.lastReadAt) {
    client.lastPingAt = now;
    connection.send({ msgid: Msg.PING });
    return;
  }
  // A slow reader gets to the PING only after the megabytes that the kernel holds in front of it.
  if (now - client.lastPingAt >= pongTimeout + connection.bytesSinceLastRead / MIN_READ_BYTES_PER_MS) {
    close(client, "no answer to PING");
  }
}

function close(client: Client, reason: string): void {
  client.node.log.debug(`closed: ${reason}`, { from: client.remoteAddress });
  void client.endSession(); // the account is free from now on, not only when the peer has gone
  void client.connection.end({ msgid: Msg.NOTICE, kind: "closing", errmsg: reason }, CLOSE_TIMEOUT_MS);
}
