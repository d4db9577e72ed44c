/** LOGIN_MSG: login with a password, or with the token of an earlier login. */
import type { Requester } from "../../passwords/password_hasher.ts";
import type { Account } from "../../store/store.ts";
import { Errno, Msg, type Rid } from "../../wire/protocol.ts";
import { type ReplyBody, RequestError } from "../protocol/reply_body.ts";
import type { Client } from "../sessions/client.ts";
import {
  acquireSession,
  alreadyOnlineError,
  type AuthenticatedUser,
  invalidTokenError,
  releaseSession,
} from "../sessions/session_lifecycle.ts";
import { normalizeName } from "../protocol/names.ts";
import type { Node } from "../node.ts";
import { loadRoster } from "../sessions/roster.ts";
import type { Session } from "../sessions/session.ts";
import {
  CLOCK_TOLERANCE_MS,
  type DeviceCookie,
  hashesEqual,
  issueToken,
  makeDeviceCookie,
  parseDeviceId,
  parseToken,
  TOKEN_TIME_UNIT_MS,
} from "../sessions/tokens.ts";

/** The fields of a login. This file checks which of them are required together. */
export interface LoginFields {
  readonly id: number | undefined;
  readonly name: string | undefined;
  readonly password: string | undefined;
  readonly token: string | undefined;
  readonly force: boolean | undefined;
}

/** The account in which a client logs in with a password. */
type ClaimedUser = { readonly id: number } | { readonly name: string };

interface Token {
  readonly text: string;
  readonly hash: Uint8Array;
  readonly expires: number; // milliseconds since 1970, UTC
  /** The latest time to which the expiry can be extended, in milliseconds since 1970, UTC. */
  readonly maxExpires: number;
}

interface Authentication extends AuthenticatedUser {
  /** The token with which the client has authenticated, if not with a password. */
  readonly token?: Token;
  /** The device for which a new token is issued, after a login with a password. */
  readonly device?: DeviceCookie;
}

/** The weight of a login in the bulk class: it takes several store calls, and as much time as many messages. */
const LOGIN_WEIGHT = 32;

/** Milliseconds after which a client should retry a login that a shutdown has interrupted. */
const RETRY_AFTER_MS = 1_000;

/**
 * The largest part of a token's lifetime that {@link CLOCK_TOLERANCE_MS} may be, so that a short lifetime
 * stays short.
 */
const MAX_CLOCK_TOLERANCE_FRACTION = 1 / 100;

/**
 * The part of a token's lifetime after which its expiry is extended. Extending it at every login would cost a
 * commit each.
 */
const RENEW_FRACTION = 1 / 8;

export async function login(
  client: Client,
  fields: LoginFields,
  rid: Rid | undefined,
): Promise<ReplyBody | undefined> {
  const { node } = client;
  if (client.session) {
    throw new RequestError(
      Errno.BAD_REQUEST,
      `this connection is logged in as ${client.session.user}; log out first`,
    );
  }
  const auth = await authenticate(client, fields);
  // The client of a token has the account's session already: it has reconnected.
  const force = fields.force === true || auth.token !== undefined;
  const startSession = () => admit(client, auth, force, rid);
  const isRateExceeded = node.rateLimiters.forUser(auth.id)?.isLoginRateExceeded(performance.now());
  await (isRateExceeded ? node.bulkQueue.run(startSession, LOGIN_WEIGHT) : startSession());
  return undefined; // completeLogin has sent the reply, before the unread messages
}

async function admit(
  client: Client,
  auth: Authentication,
  force: boolean,
  rid: Rid | undefined,
): Promise<void> {
  const { node, connection } = client;
  const session = await acquireSession(node, connection, auth, force);
  try {
    // The user is online from here on. Also after a takeover: the replaced session may not have been announced.
    node.presence.announce(session.user);
    await node.loginSemaphore.runFirst(() => completeLogin(client, session, auth, rid));
  } catch (error) {
    await releaseSession(node, session);
    throw error;
  }
}

/** Authenticates the client. An unknown user gets the same reply as a wrong password, after the same work. */
async function authenticate(
  client: Client,
  { id, name, password, token }: LoginFields,
): Promise<Authentication> {
  const { node, rateLimitKey } = client;
  if (token !== undefined) {
    const auth = await node.loginSemaphore.run(() => authenticateByToken(node, token));
    if (auth) return auth;
    if (password === undefined) throw invalidTokenError();
  }
  if (password === undefined) {
    throw new RequestError(Errno.BAD_REQUEST, "password is missing, and so is token");
  }
  if (id === undefined && name === undefined) {
    throw new RequestError(Errno.BAD_REQUEST, "id is missing, and so is name");
  }
  const claimed = id !== undefined ? { id } : { name: name! };
  return await node.loginThrottle.login(
    rateLimitKey,
    () => authenticateByPassword(client, claimed, password, token),
  );
}

/**
 * Authenticates by password. A token that is not valid any more can still prove a known device of the
 * account.
 */
async function authenticateByPassword(
  client: Client,
  claimed: ClaimedUser,
  password: string,
  earlierToken: string | undefined,
): Promise<Authentication> {
  const { node, rateLimitKey } = client;
  const account = await findUser(node, claimed);
  const deviceId = account && earlierToken !== undefined
    ? parseDeviceId(earlierToken, account.id, account.password)
    : undefined;
  const place = node.knownPlaces.get(account?.id, rateLimitKey, deviceId);
  const requester = client.requester(place.standing);
  const { valid, needsRehash } = await node.loginThrottle.check(
    "id" in claimed ? claimed.id : normalizeName(claimed.name), // all forms of a name are one account
    place,
    () => node.passwords.verify(password, account && node.storedPasswords.credentialOf(account), requester),
  );
  if (!account || !valid) throw new RequestError(Errno.FAILED, "unknown user or wrong password");
  const stored = needsRehash ? await rehash(node, account, password, requester) : account.password;
  return { ...account, device: makeDeviceCookie(account.id, stored, deviceId) };
}

/** Finds the account. Names of old accounts may not be normalized: the name as given takes precedence. */
async function findUser({ store }: Node, claimed: ClaimedUser): Promise<Account | undefined> {
  const account = await store.findUser(claimed);
  if (account || "id" in claimed) return account;
  const name = normalizeName(claimed.name);
  return name === claimed.name ? undefined : await store.findUser({ name });
}

/**
 * Hashes the password at the configured cost and stores the hash. Returns the stored hash. After a failure it
 * returns the old hash, and the next login tries again.
 */
async function rehash(
  node: Node,
  account: Account,
  password: string,
  requester: Requester,
): Promise<string> {
  try {
    const hash = await node.passwords.hash(password, { ...requester, standing: "known" });
    await node.store.setPassword(account.id, hash, account.password);
    return hash;
  } catch (error) {
    node.log.warn("Cannot rehash a password; the next login retries", {
      user: account.id,
      error: error as Error,
    });
    return account.password;
  }
}

/**
 * Authenticates by token. Returns undefined if the token is not the account's current one, or has expired.
 */
async function authenticateByToken(node: Node, text: string): Promise<Authentication | undefined> {
  const { tokenTtl, tokenLifetime } = node.config;
  const now = node.now();
  const claimed = parseToken(text, now);
  const saved = claimed && await node.store.findSession(claimed.user);
  if (!saved || !hashesEqual(saved.tokenHash, claimed.hash)) return undefined;
  const { user: id, name, tokenHash, expires } = saved;
  // A token of an earlier version has no issue time: its expiry is not extended.
  const maxExpires = claimed.issuedAt === undefined ? expires : claimed.issuedAt + tokenLifetime;
  const tolerance = Math.min(CLOCK_TOLERANCE_MS, tokenTtl * MAX_CLOCK_TOLERANCE_FRACTION);
  if (Math.min(expires, maxExpires) + tolerance <= now) return undefined;
  return { id, name, tokenHash, token: { text, hash: tokenHash, expires, maxExpires } };
}

/**
 * Completes a login whose user's channel is subscribed. Subscribes the groups' channels, then loads the
 * unread messages (invariant I3). Sends the reply, and starts the delivery. The token is replaced last, so
 * that a login that fails leaves the old token valid.
 */
async function completeLogin(
  client: Client,
  session: Session,
  auth: Authentication,
  rid: Rid | undefined,
): Promise<void> {
  const { node, connection } = client;
  const { user: id, name } = session;
  // Another login may replace this one, or the connection end, during each await.
  const assertActive = () => {
    if (node.sessions.get(id) !== session) throw alreadyOnlineError();
    if (!connection.isOpen) {
      throw new RequestError(Errno.UNAVAILABLE, "the connection is being closed", RETRY_AFTER_MS);
    }
  };

  const roster = await loadRoster(node, session);
  await Promise.all(roster.groups.map((group) => node.sessions.join(session, group.id)));
  await session.delivery.loadUnread();
  const token = tokenFor(node, auth);
  const { storeEpoch } = node;
  const head = {
    ...{ msgid: Msg.LOGIN_ACK, errno: Errno.OK, id, name, token: token.text },
    // classic clients know no seqs
    ...(connection.dialect!.name === "framed" ? { epoch: storeEpoch.current } : {}),
  };
  const full = connection.dialect!.withRoster(rid === undefined ? head : { ...head, rid }, roster);
  const { reply, onWritten } = await session.delivery.attachBacklog(full);
  assertActive();
  if (token.isNew) {
    const isLatest = await node.store.saveSession(
      { user: id, loginEpoch: session.loginEpoch },
      token.hash,
      token.expires,
    );
    if (!isLatest) throw alreadyOnlineError();
  }
  assertActive();

  client.attachSession(session);
  node.knownPlaces.add(id, client.rateLimitKey);
  const bytes = connection.dialect!.encode(reply);
  if (bytes) {
    client.rateLimiter?.charge(0, bytes.length, performance.now()); // the limiter of the user by now
    connection.sendBytes(bytes, onWritten);
  }
  session.start();
  node.log.debug("session started", { user: id, from: client.remoteAddress });
}

/** Returns the token for the next login: the one that the client has, or a new one that replaces it. */
function tokenFor(node: Node, { id, token, device }: Authentication): Token & { isNew: boolean } {
  const { tokenTtl, tokenLifetime } = node.config;
  const now = node.now();
  if (!token) {
    const maxExpires = Math.ceil(now / TOKEN_TIME_UNIT_MS) * TOKEN_TIME_UNIT_MS + tokenLifetime;
    return {
      ...issueToken(id, now, device),
      expires: Math.min(now + tokenTtl, maxExpires),
      maxExpires,
      isNew: true,
    };
  }
  const expires = Math.min(now + tokenTtl, token.maxExpires);
  return { ...token, expires, isNew: expires - token.expires > tokenTtl * RENEW_FRACTION };
}
