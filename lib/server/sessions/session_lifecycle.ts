/** How users come in and leave: one live session per account, wherever in the cluster it is. */
import { BusUnavailable } from "../../bus/bus.ts";
import { Errno, Msg } from "../../wire/protocol.ts";
import { RequestError } from "../protocol/reply_body.ts";
import type { Connection } from "../net/connection.ts";
import type { Node } from "../node.ts";
import { Session } from "./session.ts";

const TAKEOVER_PATIENCE = 1_000; // ms that another node gets to let go; a frozen one never will
const TAKEOVER_POLL = 20; // ms between two looks

/** Whose owner has proved to be it. */
export interface Entrant {
  readonly id: number;
  readonly name: string;
  /** Whether the account is in use as far as the store knows: goes for an answer while the bus is away. */
  readonly online: boolean;
  /** The hash of the token by which it was proved, if that was it. */
  readonly tokenHash?: Uint8Array;
}

/**
 * Makes a session for an account. `force` takes it over from another connection; without it, one that is
 * alive keeps it. Throws a {@link RequestError}.
 */
export async function enter(
  node: Node,
  connection: Connection,
  account: Entrant,
  force: boolean,
): Promise<Session> {
  const { id } = account;
  const unlock = await lockIfPossible(node, id);
  try {
    const here = node.sessions.of(id);
    const elsewhere = !here && (unlock ? (await node.bus.online([id])).has(id) : account.online);
    const isAlive = elsewhere || (here !== undefined && here.connection.open && !abandoned(node, here));
    if (isAlive && !force) throw alreadyOnline();

    // From here on the account is this login's, whatever nodes that can't be reached now believe.
    const session = new Session(account, await begin(node, account), connection, node);
    try {
      node.bus.publish(id, { kind: "takeover", login: session.login });
      if (elsewhere && unlock) await untilGone(node, id);
      const other = node.sessions.of(id); // without a lock another one may have come meanwhile
      if (other && other.login > session.login) throw alreadyOnline();
      if (other) takenOver(node, other);
      await node.sessions.add(session);
    } catch (error) {
      if (!(await leaveUntold(node, session))) node.departures.add(session);
      node.presence.announce(id); // another session may have let go for this one
      throw error;
    }
    return session;
  } finally {
    await unlock?.();
  }
}

/**
 * Ends a session: its user is offline from now on, unless it had been taken over already. When it resolves,
 * which is all it does, other nodes see the user gone.
 */
export async function leave(node: Node, session: Session): Promise<void> {
  if (!await leaveUntold(node, session)) return;
  node.log.debug("left", { user: session.user });
  node.presence.announce(session.user);
}

/** Ends a session whose account is gone, and its connection with it. */
export function vanished(node: Node, session: Session): void {
  session.delivery.stop();
  if (!node.sessions.remove(session) || !session.isStarted) return;
  node.log.warn("the account of a session is gone", { user: session.user });
  void session.connection.end({ msgid: Msg.NOTICE, kind: "kicked", errmsg: "the account does not exist" });
}

/** Ends a session whose account goes on elsewhere, and its connection with it. */
export function takenOver(node: Node, session: Session): void {
  session.delivery.stop();
  if (!node.sessions.remove(session)) return;
  // What came for the user until now was offered to this one alone: the other looks for it.
  node.bus.publish(session.user, { kind: "look" });
  node.log.debug("taken over", { user: session.user });
  if (!session.isStarted) return; // its login will be refused, and may be tried again
  void session.connection.end({
    msgid: Msg.NOTICE,
    kind: "kicked",
    errmsg: "the account has logged in on another connection",
  });
}

/**
 * Ends a session, and its connection, as the store's history is another one now. The client may log in again.
 */
export function restored(node: Node, session: Session): void {
  session.delivery.stop();
  if (!node.sessions.remove(session) || !session.isStarted) return; // a login in progress is refused
  void session.connection.end({
    msgid: Msg.NOTICE,
    kind: "closing",
    errmsg: "the database was restored: log in again",
  });
}

/** Ends a session; false if it was over already. */
async function leaveUntold(node: Node, session: Session): Promise<boolean> {
  session.delivery.stop();
  const gone = node.sessions.remove(session);
  if (!gone) return false;
  node.departures.add(session);
  await gone;
  return true;
}

/** Begins a login in the store; gives its number. */
async function begin(node: Node, { id, tokenHash }: Entrant): Promise<number> {
  let login: number;
  try {
    login = await node.store.beginLogin(id, tokenHash);
  } catch (error) {
    node.recovery.uncertain();
    throw error;
  }
  if (login === 0) throw invalidToken(); // it was replaced since it was looked at
  return login;
}

/**
 * The lock on an account's login. While the bus is away there is none: the number of a login alone decides.
 */
async function lockIfPossible(node: Node, user: number): Promise<(() => Promise<void>) | undefined> {
  try {
    return await node.bus.lock(user);
  } catch (error) {
    if (error instanceof BusUnavailable) return undefined;
    throw error;
  }
}

/**
 * Whether the client may be gone. A framed peer is asked with PING; a classic one can't be, so its silence
 * for as long as it takes to find a framed one dead lets its owner in again.
 */
function abandoned(node: Node, { connection }: Session): boolean {
  const { pingInterval, pongTimeout } = node.config;
  const silent = performance.now() - Math.max(connection.lastHeard, connection.lastTaken);
  return connection.dialect?.name === "classic" && silent > pingInterval + pongTimeout;
}

/** Waits for another node to let go, but not for long. */
async function untilGone(node: Node, user: number): Promise<void> {
  for (let waited = 0; waited < TAKEOVER_PATIENCE; waited += TAKEOVER_POLL) {
    if (!(await node.online([user])).has(user)) return;
    await new Promise((resolve) => setTimeout(resolve, TAKEOVER_POLL));
  }
}

/** What a login is told that doesn't get the account, or loses it to another before it is through. */
export function alreadyOnline(): RequestError {
  return new RequestError(Errno.ALREADY_ONLINE, "the account is in use on another connection");
}

/** What a login is told whose token isn't the account's session's. */
export function invalidToken(): RequestError {
  return new RequestError(
    Errno.FAILED,
    "the token is not, or no longer, valid: log in with the password",
  );
}
