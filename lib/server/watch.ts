/** Finds connections that nobody uses: that never log in, have gone silent, or take nothing of what they are sent. */
import type { Config } from "../config/options.ts";
import { Msg } from "../wire/protocol.ts";
import type { Caller } from "./caller.ts";

/** Looks at one connection, at `now` by `performance.now`; called again and again. */
export function watch(caller: Caller, now: number, config: Config): void {
  const { connection } = caller;
  if (!connection.open) return;
  const patience = config.pingAfter + config.pongWithin;
  if (connection.waiting > 0 && now - connection.lastTaken > patience) {
    // Nothing can be said to it: what was said before is not read either.
    caller.node.log.debug("closed: it reads nothing", { from: caller.from, waiting: connection.waiting });
    connection.abort();
  } else if (connection.stalled || connection.pending > 0) {
    return; // it waits for us, not we for it
  } else if (!caller.session) {
    if (now - caller.anonymousSince >= config.loginWithin) close(caller, "no login in time");
  } else if (connection.dialect?.name === "framed") watchSilence(caller, now, config);
}

/** A framed peer must answer a PING. A classic one can't be asked: see `abandoned` in entrance.ts. */
function watchSilence(caller: Caller, now: number, { pingAfter, pongWithin }: Config): void {
  const { connection } = caller;
  if (now - connection.lastHeard < pingAfter) return;
  if (caller.pingedAt < connection.lastHeard) {
    caller.pingedAt = now;
    connection.send({ msgid: Msg.PING });
    return;
  }
  // A slow reader gets to the PING only after what waits in front of it, and reading shows that it lives.
  const since = connection.waiting > 0 ? connection.lastTaken : caller.pingedAt;
  if (now - since >= pongWithin) close(caller, "no answer to PING");
}

function close(caller: Caller, why: string): void {
  caller.node.log.debug(`closed: ${why}`, { from: caller.from });
  caller.hangUp(); // the account is free from now on, not only when the peer has gone
  void caller.connection.end({ msgid: Msg.NOTICE, kind: "closing", errmsg: why });
}
