/**
 * A session's token: `USER.SECRET`. The store keeps only a hash, which is enough: the secret is random and long. Its last
 * bytes tell when it was made, so that it can't be used for ever; they are hashed with the rest, and so can't be changed.
 */
import { Buffer } from "node:buffer";
import { createHash, randomBytes, timingSafeEqual } from "node:crypto";

const SECRET = 32; // bytes, of which 232 bits are random: no hash that is slow on purpose is needed
const TIME = 3; // bytes at its end: hours since 1970, enough for 1,900 years
const TOKEN = /^([1-9]\d{0,9})\.([A-Za-z0-9_-]{43})$/;

/** Milliseconds in which the time of a token is counted, rounded up. */
export const TOKEN_TIME_UNIT_MS = 3_600_000;

/**
 * Milliseconds since 1970, UTC: no token of this form is older. Those of earlier versions end in random bytes, and one in 600 of
 * them seems to have been made since: it may have to be replaced by a login by password earlier than the others.
 */
const FIRST = Date.UTC(2024, 0, 1);

/** ms that the clocks of two nodes may differ by: a token counts so much longer, as another node may have made it. */
export const CLOCK_TOLERANCE_MS = 2 * 60 * 60 * 1_000;

/** A new token, and the hash to keep of it. `now` is in milliseconds since 1970, UTC. */
export function makeToken(user: number, now: number): { text: string; hash: Uint8Array } {
  const bytes = randomBytes(SECRET);
  bytes.writeUIntBE(Math.ceil(now / TOKEN_TIME_UNIT_MS), SECRET - TIME, TIME);
  const secret = bytes.toString("base64url");
  return { text: `${user}.${secret}`, hash: hashOf(secret) };
}

/**
 * Whose token it says it is, the hash to compare with the one kept, and when it was made (milliseconds since 1970, UTC;
 * undefined if it doesn't say that, or says a time to come); undefined if it isn't a token at all.
 */
export function readToken(
  token: string,
  now: number,
): { user: number; hash: Uint8Array; madeAt: number | undefined } | undefined {
  const match = TOKEN.exec(token);
  if (!match) return undefined;
  const time = Buffer.from(match[2]!, "base64url").readUIntBE(SECRET - TIME, TIME) * TOKEN_TIME_UNIT_MS;
  const madeAt = time >= FIRST && time <= now + CLOCK_TOLERANCE_MS ? time : undefined;
  return { user: Number(match[1]), hash: hashOf(match[2]!), madeAt };
}

/** Compares two hashes in a time that tells nothing. */
export function sameHash(a: Uint8Array, b: Uint8Array): boolean {
  return a.length === b.length && timingSafeEqual(a, b);
}

function hashOf(secret: string): Uint8Array {
  return new Uint8Array(createHash("sha256").update(Buffer.from(secret, "base64url")).digest());
}
