/**
 * A session's token: `USER.SECRET`. The store keeps only a hash, which is enough: the secret is random and
 * long. Its first half tells a device that has logged in to the account before, also when the token itself is
 * no longer valid. Its last bytes tell when it was made, so that it can't be used for ever; they are hashed
 * with the rest, and so can't be changed.
 */
import { Buffer } from "node:buffer";
import { createHash, createHmac, randomBytes, timingSafeEqual } from "node:crypto";

const DEVICE_ID_BYTES = 8; // random bytes
const DEVICE_MAC_BYTES = 8; // bytes; to guess it is tried with the server, and gains some attempts at the password
// bytes, so 104 random bits that no device ever tells: no hash that is slow on purpose is needed
const RANDOM_BYTES = 13;
const TIME_BYTES = 3; // bytes at the end: hours since 1970, enough for 1,900 years
const TIME_OFFSET = DEVICE_ID_BYTES + DEVICE_MAC_BYTES + RANDOM_BYTES;
const TOKEN_PATTERN = /^([1-9]\d{0,9})\.([A-Za-z0-9_-]{43})$/;

/** Milliseconds in which the time of a token is counted, rounded up. */
export const TOKEN_TIME_UNIT_MS = 3_600_000;

/**
 * Milliseconds since 1970, UTC: no token of this form is older. Those of earlier versions end in random
 * bytes, and one in 600 of them seems to have been made since: it may have to be replaced by a login by
 * password earlier than the others.
 */
const EARLIEST_ISSUE_TIME_MS = Date.UTC(2024, 0, 1);

/**
 * ms that the clocks of two nodes may differ by: a token counts so much longer, as another node may have made
 * it.
 */
export const CLOCK_TOLERANCE_MS = 2 * 60 * 60 * 1_000;

/** The first half of a token. */
export type DeviceCookie = Uint8Array;

/**
 * A new token of a device, and the hash to keep of it. Without a device it is one that is never known again.
 * `now` is in milliseconds since 1970, UTC.
 */
export function issueToken(
  user: number,
  now: number,
  device: DeviceCookie = randomBytes(DEVICE_ID_BYTES + DEVICE_MAC_BYTES),
): { text: string; hash: Uint8Array } {
  const time = Buffer.alloc(TIME_BYTES);
  time.writeUIntBE(Math.ceil(now / TOKEN_TIME_UNIT_MS), 0, TIME_BYTES);
  const secret = Buffer.concat([device, randomBytes(RANDOM_BYTES), time]).toString("base64url");
  return { text: `${user}.${secret}`, hash: hashOf(secret) };
}

/**
 * A device of the account with this stored password, as OWASP's device cookies are. It is known by that
 * alone, on every node, until the password changes or is hashed anew; a client learns nothing of the hash by
 * it. `id` is that of an earlier device of the account, which this one is.
 */
export function makeDeviceCookie(
  user: number,
  password: string,
  id: Uint8Array = randomBytes(DEVICE_ID_BYTES),
): DeviceCookie {
  return Buffer.concat([id, macOf(user, password, id)]);
}

/** The id of the account's device by which a token was made, valid or not; undefined if it tells of none. */
export function parseDeviceId(token: string, user: number, password: string): Uint8Array | undefined {
  const secret = TOKEN_PATTERN.exec(token)?.[2];
  if (secret === undefined) return undefined;
  const bytes = new Uint8Array(Buffer.from(secret, "base64url"));
  const id = bytes.subarray(0, DEVICE_ID_BYTES);
  return hashesEqual(
      bytes.subarray(DEVICE_ID_BYTES, DEVICE_ID_BYTES + DEVICE_MAC_BYTES),
      macOf(user, password, id),
    )
    ? id
    : undefined;
}

function macOf(user: number, password: string, id: Uint8Array): Uint8Array {
  const mac = createHmac("sha256", `device of ${password}`).update(`${user}.`).update(id).digest();
  return new Uint8Array(mac.subarray(0, DEVICE_MAC_BYTES));
}

/**
 * Whose token it says it is, the hash to compare with the one kept, and when it was made (milliseconds since
 * 1970, UTC; undefined if it doesn't say that, or says a time to come); undefined if it isn't a token at all.
 */
export function parseToken(
  token: string,
  now: number,
): { user: number; hash: Uint8Array; issuedAt: number | undefined } | undefined {
  const match = TOKEN_PATTERN.exec(token);
  if (!match) return undefined;
  const time = Buffer.from(match[2]!, "base64url").readUIntBE(TIME_OFFSET, TIME_BYTES) * TOKEN_TIME_UNIT_MS;
  const issuedAt = time >= EARLIEST_ISSUE_TIME_MS && time <= now + CLOCK_TOLERANCE_MS ? time : undefined;
  return { user: Number(match[1]), hash: hashOf(match[2]!), issuedAt };
}

/** Compares two hashes in a time that tells nothing. */
export function hashesEqual(a: Uint8Array, b: Uint8Array): boolean {
  return a.length === b.length && timingSafeEqual(a, b);
}

function hashOf(secret: string): Uint8Array {
  return new Uint8Array(createHash("sha256").update(Buffer.from(secret, "base64url")).digest());
}
