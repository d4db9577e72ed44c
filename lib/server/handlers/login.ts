/** LOGIN_MSG: by password, or by the token of an earlier login. */
import type { Requester } from "../../passwords/password_hasher.ts";
import type { Account } from "../../store/store.ts";
import { Errno, Msg, type Rid } from "../../wire/protocol.ts";
import { type Answer, RequestError } from "../protocol/reply_body.ts";
import type { Caller } from "../sessions/client.ts";
import { alreadyOnline, enter, type Entrant, invalidToken, leave } from "../sessions/session_lifecycle.ts";
import { normalName } from "../protocol/names.ts";
import type { Node } from "../node.ts";
import { rosterOf } from "../sessions/roster.ts";
import type { Session } from "../sessions/session.ts";
import {
  CLOCK_TOLERANCE_MS,
  type Device,
  makeDevice,
  makeToken,
  readDevice,
  readToken,
  sameHash,
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
type Claimed = { readonly id: number } | { readonly name: string };

interface Token {
  readonly text: string;
  readonly hash: Uint8Array;
  readonly expires: number; // milliseconds since 1970, UTC
  /** How far that can be put off, in the same unit. */
  readonly end: number;
}

interface Proven extends Entrant {
  /** What it was proven by, if not by a password. */
  readonly token?: Token;
  /** Whose session's token a new one is to be, if it was by a password. */
  readonly device?: Device;
}

/** Pieces of heavy work that one counts as while it is under way. */
const LOGIN_PIECES = 4;

const COME_BACK = 1_000; // ms, for a login that is cut off by a shutdown

/**
 * {@link CLOCK_TOLERANCE_MS} is at most this part of a token's time: one that was made to be short stays
 * short.
 */
const CLOCK_TOLERANCE_PART = 1 / 100;

/**
 * A token's expiry is put off when this part of its time has gone, and not at every login: it costs a commit.
 */
const RENEW_AFTER = 1 / 8;

export async function login(
  caller: Caller,
  fields: LoginFields,
  rid: Rid | undefined,
): Promise<Answer | undefined> {
  const { node } = caller;
  if (caller.session) {
    throw new RequestError(
      Errno.BAD_REQUEST,
      `this connection is logged in as ${caller.session.user}; log out first`,
    );
  }
  const proven = await prove(caller, fields);
  // A token is its session's own: who shows it is that session's client, come back.
  const force = fields.force === true || proven.token !== undefined;
  const comeIn = () => admit(caller, proven, force, rid);
  const isOften = node.allowances.ofUser(proven.id)?.logsInOften(performance.now());
  await (isOften ? node.lane.do(comeIn, LOGIN_PIECES) : comeIn());
  return undefined; // the answer is sent already, in front of what was missed
}

async function admit(
  caller: Caller,
  proven: Proven,
  force: boolean,
  rid: Rid | undefined,
): Promise<void> {
  const { node, connection } = caller;
  const session = await enter(node, connection, proven, force);
  try {
    await node.logins.end(() => settleIn(caller, session, proven, rid));
    // also after a takeover: what that one had to tell it may not have told
    node.presence.announce(session.user);
  } catch (error) {
    await leave(node, session);
    throw error;
  }
}

/**
 * Who the client has proved to be. An unknown user gets the same answer as a wrong password, after the same
 * work.
 */
async function prove(caller: Caller, { id, name, password, token }: LoginFields): Promise<Proven> {
  const { node, address } = caller;
  if (token !== undefined) {
    const proven = await node.logins.begin(() => proveByToken(node, token));
    if (proven) return proven;
    if (password === undefined) throw invalidToken();
  }
  if (password === undefined) {
    throw new RequestError(Errno.BAD_REQUEST, "password is missing, and so is token");
  }
  if (id === undefined && name === undefined) {
    throw new RequestError(Errno.BAD_REQUEST, "id is missing, and so is name");
  }
  const claimed = id !== undefined ? { id } : { name: name! };
  return await node.attempts.login(address, () => proveByPassword(caller, claimed, password, token));
}

/** The earlier token, which is not valid, may show the device to be the account's. */
async function proveByPassword(
  caller: Caller,
  claimed: Claimed,
  password: string,
  earlier: string | undefined,
): Promise<Proven> {
  const { node, address } = caller;
  const account = await findUser(node, claimed);
  const device = account && earlier !== undefined
    ? readDevice(earlier, account.id, account.password)
    : undefined;
  const place = node.places.of(account?.id, address, device);
  const requester = caller.requester(place.standing);
  const { right, stale } = await node.attempts.check(
    "id" in claimed ? claimed.id : normalName(claimed.name), // all forms of a name are one account's
    place,
    () => node.passwords.verify(password, account && node.storedPasswords.of(account), requester),
  );
  if (!account || !right) throw new RequestError(Errno.FAILED, "unknown user or wrong password");
  const stored = stale ? await rehash(node, account, password, requester) : account.password;
  return { ...account, device: makeDevice(account.id, stored, device) };
}

/** An account of earlier times may have a name in any form: as it is given it counts first. */
async function findUser({ store }: Node, claimed: Claimed): Promise<Account | undefined> {
  const account = await store.findUser(claimed);
  if (account || "id" in claimed) return account;
  const name = normalName(claimed.name);
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
async function proveByToken(node: Node, text: string): Promise<Proven | undefined> {
  const { tokenTtl, tokenLifetime } = node.config;
  const now = node.now();
  const claimed = readToken(text, now);
  const saved = claimed && await node.store.findSession(claimed.user);
  if (!saved || !sameHash(saved.tokenHash, claimed.hash)) return undefined;
  const { user: id, name, tokenHash, expires } = saved;
  // One of an earlier version doesn't tell its age: it is not put off any more.
  const end = claimed.madeAt === undefined ? expires : claimed.madeAt + tokenLifetime;
  const tolerance = Math.min(CLOCK_TOLERANCE_MS, tokenTtl * CLOCK_TOLERANCE_PART);
  if (Math.min(expires, end) + tolerance <= now) return undefined;
  return { id, name, online: false, tokenHash, token: { text, hash: tokenHash, expires, end } };
}

/**
 * With the user's channel subscribed: subscribes the groups' too, and only then looks at what was missed
 * (invariant I3); answers, and starts the pushing. The token is changed last: a login that fails before
 * leaves the old one good.
 */
async function settleIn(
  caller: Caller,
  session: Session,
  proven: Proven,
  rid: Rid | undefined,
): Promise<void> {
  const { node, connection } = caller;
  const { user: id, name } = session;
  // Another login may take the account over, or the connection end, while we wait.
  const goOn = () => {
    if (node.sessions.of(id) !== session) throw alreadyOnline();
    if (!connection.open) {
      throw new RequestError(Errno.UNAVAILABLE, "the connection is being closed", COME_BACK);
    }
  };

  const roster = await rosterOf(node, session);
  await Promise.all(roster.groups.map((group) => node.sessions.join(session, group.id)));
  await session.delivery.look();
  const token = tokenFor(node, proven);
  const { epoch } = node;
  const head = {
    ...{ msgid: Msg.LOGIN_ACK, errno: Errno.OK, id, name, token: token.text },
    // classic clients know no seqs
    ...(connection.dialect!.name === "framed" ? { epoch: epoch.current } : {}),
  };
  const full = connection.dialect!.withRoster(rid === undefined ? head : { ...head, rid }, roster);
  const { answer, taken } = await session.delivery.fillAnswer(full);
  goOn();
  if (token.isNews) {
    const isLast = await node.store.saveSession(
      { user: id, login: session.login },
      token.hash,
      token.expires,
    );
    if (!isLast) throw alreadyOnline();
  }
  goOn();

  caller.enter(session);
  node.places.add(id, caller.address);
  const bytes = connection.dialect!.encode(answer);
  if (bytes) {
    caller.allowance?.charge(0, bytes.length, performance.now()); // the user's, and not the stranger's it was
    connection.sendBytes(bytes, taken);
  }
  session.start();
  node.log.debug("entered", { user: id, from: caller.from });
}

/** The token that the client is to come back with: its own, or a new one in place of the account's last. */
function tokenFor(node: Node, { id, token, device }: Proven): Token & { isNews: boolean } {
  const { tokenTtl, tokenLifetime } = node.config;
  const now = node.now();
  if (!token) {
    const end = Math.ceil(now / TOKEN_TIME_UNIT_MS) * TOKEN_TIME_UNIT_MS + tokenLifetime;
    return { ...makeToken(id, now, device), expires: Math.min(now + tokenTtl, end), end, isNews: true };
  }
  const expires = Math.min(now + tokenTtl, token.end);
  return { ...token, expires, isNews: expires - token.expires > tokenTtl * RENEW_AFTER };
}
