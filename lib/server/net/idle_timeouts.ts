/**
 * Finds connections that are not used: that never log in, have gone silent, or take nothing of what they are
 * sent.
 */
import type { Config } from "../../config/options.ts";
import { Msg } from "../../wire/protocol.ts";
import type { Caller } from "../sessions/client.ts";

const SLOWEST = 4; // bytes per ms: who reads more slowly than a 1990s modem is taken for dead
const LAST_WORDS = 1_000; // ms to take the NOTICE: a client that is closed for silence hardly reads it

/** Looks at one connection, at `now` by `performance.now`; called again and again. */
export function watch(caller: Caller, now: number, config: Config): void {
  const { connection } = caller;
  if (!connection.open) return;
  if (connection.waiting > 0 && now - connection.lastTaken > config.writeStallTimeout) {
    // Nothing can be said to it: what was said before is not read either.
    caller.node.log.debug("closed: it reads nothing", { from: caller.from, waiting: connection.waiting });
    connection.abort();
  } else if (caller.isAwaited) watchHeader(caller, now, config);
  else if (!caller.session) watchLogin(caller, now, config);
  else if (
    connection.waiting === 0 && connection.pending === 0 && !connection.isResting &&
    connection.dialect?.name === "framed"
  ) {
    watchSilence(caller, now, config);
  }
}

/** Until the header is there, it isn't known whom a connection counts for, nor what it could be told. */
function watchHeader(caller: Caller, now: number, config: Config): void {
  if (now - caller.anonymousSince < config.proxyHeaderTimeout) return;
  if (!caller.isOverdue) {
    caller.isOverdue = true; // a busy node may not have got to what is there: it does before the next look
    return;
  }
  caller.node.log.debug("closed: no PROXY header in time", { from: caller.from });
  caller.connection.abort();
}

/**
 * Closes a client that does not log in; but a login that was begun in time, and waits for its turn, may end.
 */
function watchLogin(caller: Caller, now: number, { loginTimeout }: Config): void {
  const { connection } = caller;
  if (now - caller.anonymousSince < loginTimeout) return;
  const isFirstLook = caller.lastChance === undefined;
  caller.lastChance ??= connection.taken;
  if (connection.pending > 0 && (isFirstLook || connection.taken === caller.lastChance)) return;
  close(caller, "no login in time");
}

/** A framed peer must answer a PING. A classic one can't be asked: see `abandoned` in entrance.ts. */
function watchSilence(caller: Caller, now: number, { pingInterval, pongTimeout }: Config): void {
  const { connection } = caller;
  if (now - connection.lastHeard < pingInterval) return;
  if (caller.pingedAt < connection.lastHeard) {
    caller.pingedAt = now;
    connection.send({ msgid: Msg.PING });
    return;
  }
  // A slow reader gets to the PING only after the megabytes that the kernel holds in front of it.
  if (now - caller.pingedAt >= pongTimeout + connection.unheard / SLOWEST) close(caller, "no answer to PING");
}

function close(caller: Caller, why: string): void {
  caller.node.log.debug(`closed: ${why}`, { from: caller.from });
  void caller.hangUp(); // the account is free from now on, not only when the peer has gone
  void caller.connection.end({ msgid: Msg.NOTICE, kind: "closing", errmsg: why }, LAST_WORDS);
}
