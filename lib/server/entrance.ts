/** How users come in and leave: one live session per account, wherever in the cluster it is. */
import { Errno, Msg } from "../wire/protocol.ts";
import { RequestError } from "./answer.ts";
import type { Connection } from "./connection.ts";
import type { Node } from "./node.ts";
import { announce } from "./presence.ts";
import { Session } from "./session.ts";

const TAKEOVER_PATIENCE = 1_000; // ms that another node gets to let go; a frozen one never will
const TAKEOVER_POLL = 20; // ms between two looks

/**
 * Makes a session for an account whose owner has proved to be it. `force` takes it over from another connection;
 * without it, one that is alive keeps it. Throws a {@link RequestError}. `wasOnline` says whether friends know already.
 */
export async function enter(
  node: Node,
  connection: Connection,
  account: { readonly id: number; readonly name: string },
  force: boolean,
): Promise<{ session: Session; wasOnline: boolean }> {
  const session = new Session(account, connection, node);
  let wasOnline = false;
  const unlock = await node.bus.lock(account.id);
  try {
    const here = node.sessions.of(account.id);
    wasOnline = here !== undefined || (await node.bus.online([account.id])).has(account.id);
    if (here) {
      if (!force && here.connection.open && !abandoned(node, here)) throw alreadyOnline();
      takenOver(node, here);
    } else if (wasOnline) {
      if (!force) throw alreadyOnline();
      await askToLetGo(node, account.id);
    }
    await node.sessions.add(session);
  } catch (error) {
    remove(node, session); // or nobody could come in any more
    throw error;
  } finally {
    await unlock();
  }
  return { session, wasOnline };
}

/** Ends a session: its user is offline from now on, unless it had been taken over already. */
export function leave(node: Node, session: Session): void {
  if (!remove(node, session)) return;
  node.log.debug("left", { user: session.user });
  void node.store.setState(session.user, "offline").catch(() => {}); // for operators' eyes only, and made right at start
  void announce(node, session.user);
}

/** Ends a session whose account goes on elsewhere, and its connection with it. */
export function takenOver(node: Node, session: Session): void {
  if (!remove(node, session)) return;
  node.log.debug("taken over", { user: session.user });
  void session.connection.end({
    msgid: Msg.NOTICE,
    kind: "kicked",
    errmsg: "the account has logged in on another connection",
  });
}

function remove(node: Node, session: Session): boolean {
  session.delivery.stop();
  return node.sessions.remove(session);
}

/**
 * Whether nobody may be there any more. A framed peer is asked with PING; a classic one can't be, so its silence
 * for as long as it takes to find a framed one dead lets its owner in again.
 */
function abandoned(node: Node, { connection }: Session): boolean {
  const { pingAfter, pongWithin } = node.config;
  const silent = performance.now() - Math.max(connection.lastHeard, connection.lastTaken);
  return connection.dialect?.name === "classic" && silent > pingAfter + pongWithin;
}

async function askToLetGo(node: Node, user: number): Promise<void> {
  node.bus.publish(user, { kind: "takeover" });
  for (let waited = 0; waited < TAKEOVER_PATIENCE; waited += TAKEOVER_POLL) {
    if (!(await node.bus.online([user])).has(user)) return;
    await new Promise((resolve) => setTimeout(resolve, TAKEOVER_POLL));
  }
}

/** What a login is told that doesn't get the account, or loses it to another before it is through. */
export function alreadyOnline(): RequestError {
  return new RequestError(Errno.ALREADY_ONLINE, "the account is in use on another connection");
}
