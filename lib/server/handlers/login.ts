/** LOGIN_MSG: by password, or by the token of an earlier login. */
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

/** The fields of a login; which of them must be there together is checked here. */
export interface LoginFields {
  readonly id: number | undefined;
  readonly name: string | undefined;
  readonly password: string | undefined;
  readonly token: string | undefined;
  readonly force: boolean | undefined;
}

/** The account that a client with a password claims. */
type ClaimedUser = { readonly id: number } | { readonly name: string };

interface Token {
  readonly text: string;
  readonly hash: Uint8Array;
  readonly expires: number; // milliseconds since 1970, UTC
  /** How far that can be put off, in the same unit. */
  readonly maxExpires: number;
}

interface Authentication extends AuthenticatedUser {
  /** What it was proven by, if not by a password. */
  readonly token?: Token;
  /** Whose session's token a new one is to be, if it was by a password. */
  readonly device?: DeviceCookie;
}

/** Bulk items that a login counts as: it takes several store calls, and as much time as many messages. */
const LOGIN_WEIGHT = 4;

const RETRY_AFTER_MS = 1_000; // ms, for a login that is cut off by a shutdown

/**
 * {@link CLOCK_TOLERANCE_MS} is at most this part of a token's time: one that was made to be short stays
 * short.
 */
const MAX_CLOCK_TOLERANCE_FRACTION = 1 / 100;

/**
 * A token's expiry is put off when this part of its time has gone, and not at every login: it costs a commit.
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
  // A token is its session's own: who shows it is that session's client, come back.
  const force = fields.force === true || auth.token !== undefined;
  const startSession = () => admit(client, auth, force, rid);
  const isRateExceeded = node.rateLimiters.forUser(auth.id)?.isLoginRateExceeded(performance.now());
  await (isRateExceeded ? node.bulkQueue.run(startSession, LOGIN_WEIGHT) : startSession());
  return undefined; // the answer is sent already, in front of what was missed
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
    await node.loginSemaphore.runFirst(() => completeLogin(client, session, auth, rid));
    // also after a takeover: what that one had to tell it may not have told
    node.presence.announce(session.user);
  } catch (error) {
    await releaseSession(node, session);
    throw error;
  }
}

/**
 * Who the client has proved to be. An unknown user gets the same answer as a wrong password, after the same
 * work.
 */
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

/** The earlier token, which is not valid, may show the device to be the account's. */
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
    "id" in claimed ? claimed.id : normalizeName(claimed.name), // all forms of a name are one account's
    place,
    () => node.passwords.verify(password, account && node.storedPasswords.credentialOf(account), requester),
  );
  if (!account || !valid) throw new RequestError(Errno.FAILED, "unknown user or wrong password");
  const stored = needsRehash ? await rehash(node, account, password, requester) : account.password;
  return { ...account, device: makeDeviceCookie(account.id, stored, deviceId) };
}

/** An account of earlier times may have a name in any form: as it is given it counts first. */
async function findUser({ store }: Node, claimed: ClaimedUser): Promise<Account | undefined> {
  const account = await store.findUser(claimed);
  if (account || "id" in claimed) return account;
  const name = normalizeName(claimed.name);
  return name === claimed.name ? undefined : await store.findUser({ name });
}

/**
 * The password again, hashed at today's cost, and what is stored then; it can wait for the next login if it
 * must.
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
    node.log.warn("password not hashed anew", { user: account.id, why: error as Error });
    return account.password;
  }
}

/** Undefined if the token is not, or no longer, its account's. */
async function authenticateByToken(node: Node, text: string): Promise<Authentication | undefined> {
  const { tokenTtl, tokenLifetime } = node.config;
  const now = node.now();
  const claimed = parseToken(text, now);
  const saved = claimed && await node.store.findSession(claimed.user);
  if (!saved || !hashesEqual(saved.tokenHash, claimed.hash)) return undefined;
  const { user: id, name, tokenHash, expires } = saved;
  // One of an earlier version doesn't tell its age: it is not put off any more.
  const maxExpires = claimed.issuedAt === undefined ? expires : claimed.issuedAt + tokenLifetime;
  const tolerance = Math.min(CLOCK_TOLERANCE_MS, tokenTtl * MAX_CLOCK_TOLERANCE_FRACTION);
  if (Math.min(expires, maxExpires) + tolerance <= now) return undefined;
  return { id, name, online: false, tokenHash, token: { text, hash: tokenHash, expires, maxExpires } };
}

/**
 * With the user's channel subscribed: subscribes the groups' too, and only then looks at what was missed
 * (invariant I3); answers, and starts the pushing. The token is changed last: a login that fails before
 * leaves the old one good.
 */
async function completeLogin(
  client: Client,
  session: Session,
  auth: Authentication,
  rid: Rid | undefined,
): Promise<void> {
  const { node, connection } = client;
  const { user: id, name } = session;
  // Another login may take the account over, or the connection end, while we wait.
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
    client.rateLimiter?.charge(0, bytes.length, performance.now()); // the user's, and not the stranger's it was
    connection.sendBytes(bytes, onWritten);
  }
  session.start();
  node.log.debug("entered", { user: id, from: client.remoteAddress });
}

/** The token that the client is to come back with: its own, or a new one in place of the account's last. */
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
