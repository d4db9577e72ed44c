/** How users come in and leave: one live session per account, wherever in the cluster it is. */
import { BusUnavailableError } from "../../bus/bus.ts";
import { sleep } from "../../sleep.ts";
import { Errno, Msg } from "../../wire/protocol.ts";
import { RequestError } from "../protocol/reply_body.ts";
import type { Connection } from "../net/connection.ts";
import type { Node } from "../node.ts";
import { Session } from "./session.ts";

const TAKEOVER_TIMEOUT_MS = 1_000; // ms that another node gets to let go; a frozen one never will
const TAKEOVER_POLL_MS = 20; // ms between two looks

/** Whose owner has proved to be it. */
export interface AuthenticatedUser {
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
    const isElsewhere = !existing && (unlock ? (await node.bus.online([id])).has(id) : account.online);
    const isAlive = isElsewhere ||
      (existing !== undefined && existing.connection.isOpen && !isStale(node, existing));
    if (isAlive && !force) throw alreadyOnlineError();

    // From here on the account is this login's, whatever nodes that can't be reached now believe.
    const session = new Session(account, await claimAccount(node, account), connection, node);
    try {
      node.bus.publish(id, { kind: "takeover", loginEpoch: session.loginEpoch });
      if (isElsewhere && unlock) await waitForRelease(node, id);
      const other = node.sessions.get(id); // without a lock another one may have come meanwhile
      if (other && other.loginEpoch > session.loginEpoch) throw alreadyOnlineError();
      if (other) onReplaced(node, other);
      await node.sessions.add(session);
    } catch (error) {
      if (!(await releaseQuietly(node, session))) node.logoutBatch.add(session);
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
export async function releaseSession(node: Node, session: Session): Promise<void> {
  if (!await releaseQuietly(node, session)) return;
  node.log.debug("left", { user: session.user });
  node.presence.announce(session.user);
}

/** Ends a session whose account is gone, and its connection with it. */
export function onAccountDeleted(node: Node, session: Session): void {
  session.delivery.stop();
  if (!node.sessions.remove(session) || !session.isStarted) return;
  node.log.warn("the account of a session is gone", { user: session.user });
  void session.connection.end({ msgid: Msg.NOTICE, kind: "kicked", errmsg: "the account does not exist" });
}

/** Ends a session whose account goes on elsewhere, and its connection with it. */
export function onReplaced(node: Node, session: Session): void {
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
export function onStoreRestored(node: Node, session: Session): void {
  session.delivery.stop();
  if (!node.sessions.remove(session) || !session.isStarted) return; // a login in progress is refused
  void session.connection.end({
    msgid: Msg.NOTICE,
    kind: "closing",
    errmsg: "the database was restored: log in again",
  });
}

/** Ends a session; false if it was over already. */
async function releaseQuietly(node: Node, session: Session): Promise<boolean> {
  session.delivery.stop();
  const unsubscribed = node.sessions.remove(session);
  if (!unsubscribed) return false;
  node.logoutBatch.add(session);
  await unsubscribed;
  return true;
}

/** Begins a login in the store; gives its number. */
async function claimAccount(node: Node, { id, tokenHash }: AuthenticatedUser): Promise<number> {
  let loginEpoch: number;
  try {
    loginEpoch = await node.store.claimAccount(id, tokenHash);
  } catch (error) {
    node.recovery.onUncertainLogin();
    throw error;
  }
  if (loginEpoch === 0) throw invalidTokenError(); // it was replaced since it was looked at
  return loginEpoch;
}

/**
 * The lock on an account's login. While the bus is away there is none: the number of a login alone decides.
 */
async function tryLock(node: Node, user: number): Promise<(() => Promise<void>) | undefined> {
  try {
    return await node.bus.lock(user);
  } catch (error) {
    if (error instanceof BusUnavailableError) return undefined;
    throw error;
  }
}

/**
 * Whether the client may be gone. A framed peer is asked with PING; a classic one can't be, so its silence
 * for as long as it takes to find a framed one dead lets its owner in again.
 */
function isStale(node: Node, { connection }: Session): boolean {
  const { pingInterval, pongTimeout } = node.config;
  const silentMs = performance.now() - Math.max(connection.lastReadAt, connection.lastWriteAt);
  return connection.dialect?.name === "classic" && silentMs > pingInterval + pongTimeout;
}

/** Waits for another node to let go, but not for long. */
async function waitForRelease(node: Node, user: number): Promise<void> {
  for (let waitedMs = 0; waitedMs < TAKEOVER_TIMEOUT_MS; waitedMs += TAKEOVER_POLL_MS) {
    if (!(await node.online([user])).has(user)) return;
    await sleep(TAKEOVER_POLL_MS);
  }
}

/** What a login is told that doesn't get the account, or loses it to another before it is through. */
export function alreadyOnlineError(): RequestError {
  return new RequestError(Errno.ALREADY_ONLINE, "the account is in use on another connection");
}

/** What a login is told whose token isn't the account's session's. */
export function invalidTokenError(): RequestError {
  return new RequestError(
    Errno.FAILED,
    "the token is not, or no longer, valid: log in with the password",
  );
}
