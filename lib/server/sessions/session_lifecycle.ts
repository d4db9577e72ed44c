/** The begin and the end of sessions. An account has at most one live session in the cluster. */
import { BusUnavailableError } from "../../bus/bus.ts";
import { sleep } from "../../sleep.ts";
import { Errno, Msg } from "../../wire/protocol.ts";
import { RequestError } from "../protocol/reply_body.ts";
import type { Connection } from "../net/connection.ts";
import type { Node } from "../node.ts";
import { Session, type SessionEndReason } from "./session.ts";

/** Milliseconds in which another node has to release the account. A frozen node never releases it. */
const TAKEOVER_TIMEOUT_MS = 1_000;
/** Milliseconds between two checks of whether the other node has released the account. */
const TAKEOVER_POLL_MS = 20;

/** The notices with which connections end, by the reason for which the server ends the session. */
const NOTICES = {
  replaced: { kind: "kicked", errmsg: "the account has logged in on another connection" },
  account_deleted: { kind: "kicked", errmsg: "the account does not exist" },
  store_restored: { kind: "closing", errmsg: "the database was restored: log in again" },
} as const satisfies Record<SessionEndReason, { kind: "kicked" | "closing"; errmsg: string }>;

/** An account whose owner has authenticated. */
export interface AuthenticatedUser {
  readonly id: number;
  readonly name: string;
  /** The hash of the token, if the user has authenticated with one. */
  readonly tokenHash?: Uint8Array;
}

/**
 * Creates a session for an account. With `force` it replaces a session on another connection. Without `force`
 * it throws a {@link RequestError} if another connection of the account is alive.
 */
export async function acquireSession(
  node: Node,
  connection: Connection,
  account: AuthenticatedUser,
  force: boolean,
): Promise<Session> {
  const { id } = account;
  const unlock = await tryLock(node, id);
  try {
    const existing = node.sessions.get(id);
    const isElsewhere = !existing &&
      (unlock ? (await node.bus.online([id])).has(id) : !force && await isOnlineInStore(node, id));
    const isAlive = isElsewhere ||
      (existing !== undefined && existing.connection.isOpen && !isStale(node, existing));
    if (isAlive && !force) throw alreadyOnlineError();

    // From here on the account belongs to this login, also where another node does not know it yet.
    const session = new Session(account, await claimAccount(node, account), connection, node);
    try {
      node.bus.publish(id, { kind: "takeover", loginEpoch: session.loginEpoch });
      if (isElsewhere && unlock) await waitForRelease(node, id);
      const other = node.sessions.get(id); // without a lock another login may have begun meanwhile
      if (other && other.loginEpoch > session.loginEpoch) throw alreadyOnlineError();
      if (other) terminateSession(node, other, "replaced");
      await node.sessions.add(session);
    } catch (error) {
      if (!(await releaseQuietly(node, session))) node.logoutBatch.add(session);
      node.presence.announce(id); // another session may have been released for this one
      throw error;
    }
    return session;
  } finally {
    void unlock?.(); // never rejects; the login does not depend on its end
  }
}

/**
 * Ends a session. Its user is offline from now on, unless another session has replaced this one. Never
 * rejects. When it resolves, other nodes see the user as offline.
 */
export async function releaseSession(node: Node, session: Session): Promise<void> {
  if (!await releaseQuietly(node, session)) return;
  node.log.debug("session ended", { user: session.user });
  node.presence.announce(session.user);
}

/**
 * Ends a session that the user has not ended, and its connection. A session whose login is in progress gets
 * no notice: the login is refused.
 */
export function terminateSession(node: Node, session: Session, reason: SessionEndReason): void {
  session.delivery.stop();
  if (!node.sessions.remove(session)) return;
  const { user, isStarted, connection } = session;
  if (reason === "replaced") {
    // Messages of the last moments were delivered to this session only: the new session loads them.
    node.bus.publish(user, { kind: "resync" });
    node.log.debug("session replaced", { user });
  }
  if (!isStarted) return;
  if (reason === "account_deleted") node.log.warn("the account of a session is gone", { user });
  void connection.end({ msgid: Msg.NOTICE, ...NOTICES[reason] });
}

/** Ends a session without an announcement. Returns false if it had ended before. */
async function releaseQuietly(node: Node, session: Session): Promise<boolean> {
  session.delivery.stop();
  const unsubscribed = node.sessions.remove(session);
  if (!unsubscribed) return false;
  node.logoutBatch.add(session);
  await unsubscribed;
  // Until the bus is available again, other nodes ask the store whether the user is online.
  if (node.recovery.isBusDown) await node.logoutBatch.flushUser(session.user);
  return true;
}

/** Begins a login in the store. Returns its epoch. */
async function claimAccount(node: Node, { id, tokenHash }: AuthenticatedUser): Promise<number> {
  let loginEpoch: number;
  try {
    loginEpoch = await node.store.claimAccount(id, tokenHash);
  } catch (error) {
    node.recovery.onUncertainLogin();
    throw error;
  }
  if (loginEpoch === 0) throw invalidTokenError(); // the token was replaced since it was checked
  return loginEpoch;
}

/**
 * Acquires the lock on an account's login. Returns undefined while the bus is unavailable: then the login
 * epoch alone decides.
 */
async function tryLock(node: Node, user: number): Promise<(() => Promise<void>) | undefined> {
  try {
    return await node.bus.lock(user);
  } catch (error) {
    if (error instanceof BusUnavailableError) return undefined;
    throw error;
  }
}

/** Returns whether the store has the account as online. It counts while the bus is unavailable. */
async function isOnlineInStore({ logoutBatch, store }: Node, id: number): Promise<boolean> {
  await logoutBatch.flushUser(id);
  return (await store.findUser({ id }))?.online ?? false;
}

/**
 * Returns whether a classic client may be dead. The server cannot send PING to a classic client. So the
 * client counts as dead after a silence in which the server would have closed the connection of a framed
 * client.
 */
function isStale(node: Node, { connection }: Session): boolean {
  const { pingInterval, pongTimeout } = node.config;
  const silentMs = performance.now() - Math.max(connection.lastReadAt, connection.lastWriteAt);
  return connection.dialect?.name === "classic" && silentMs > pingInterval + pongTimeout;
}

/** Waits until another node has released the account, at most {@link TAKEOVER_TIMEOUT_MS}. */
async function waitForRelease(node: Node, user: number): Promise<void> {
  for (let waitedMs = 0; waitedMs < TAKEOVER_TIMEOUT_MS; waitedMs += TAKEOVER_POLL_MS) {
    if (!(await node.online([user])).has(user)) return;
    await sleep(TAKEOVER_POLL_MS);
  }
}

/** Returns the error for a login that does not get the account, or loses it to another login. */
export function alreadyOnlineError(): RequestError {
  return new RequestError(Errno.ALREADY_ONLINE, "the account is in use on another connection");
}

/** Returns the error for a login with a token that is not the account's current one. */
export function invalidTokenError(): RequestError {
  return new RequestError(
    Errno.FAILED,
    "the token is not valid any more: log in with the password",
  );
}
