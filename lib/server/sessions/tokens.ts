/**
 * Session tokens: `USER.SECRET`. The store has only a hash of the secret. A fast hash is enough, because the
 * secret is long and random. The first half of the secret identifies a device that has logged in to the
 * account before. It does so also when the token is not valid any more. The last bytes are the issue time,
 * which limits the lifetime of the token. They are part of the hash, so a client cannot change them.
 */
import { Buffer } from "node:buffer";
import { createHash, createHmac, randomBytes, timingSafeEqual } from "node:crypto";

/** Random bytes that identify a device. */
const DEVICE_ID_BYTES = 8;
/**
 * Bytes of the MAC of the device id. A guess must be tried with the server, and gains only more login
 * attempts.
 */
const DEVICE_MAC_BYTES = 8;
/** Random bytes that are new in each token: 104 bits, which need no slow hash. */
const RANDOM_BYTES = 13;
/** Bytes of the issue time at the end, in hours since 1970: enough for 1,900 years. */
const TIME_BYTES = 3;
const TIME_OFFSET = DEVICE_ID_BYTES + DEVICE_MAC_BYTES + RANDOM_BYTES;
const TOKEN_PATTERN = /^([1-9]\d{0,9})\.([A-Za-z0-9_-]{43})$/;

/** Milliseconds of the unit of the issue time, which is rounded up. */
export const TOKEN_TIME_UNIT_MS = 3_600_000;

/**
 * The earliest issue time, in milliseconds since 1970, UTC: an earlier one is not an issue time. Tokens of an
 * earlier version end in random bytes. One in 600 of those tokens seems to have a valid issue time. It may
 * expire early.
 */
const EARLIEST_ISSUE_TIME_MS = Date.UTC(2024, 0, 1);

/** Milliseconds by which the clocks of two nodes may differ. A token is valid for so much longer. */
export const CLOCK_TOLERANCE_MS = 2 * 60 * 60 * 1_000;

/** The first half of a token. */
export type DeviceCookie = Uint8Array;

/**
 * Returns a new token of a device, and its hash for the store. Without a device, the token identifies none.
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
 * Returns the cookie of a device (as OWASP's device cookies) for an account with this stored password. All
 * nodes recognize it without a record, until the stored password changes. It reveals nothing about the hash.
 * `id` is the id of the device if it is known already.
 */
export function makeDeviceCookie(
  user: number,
  password: string,
  id: Uint8Array = randomBytes(DEVICE_ID_BYTES),
): DeviceCookie {
  return Buffer.concat([id, macOf(user, password, id)]);
}

/**
 * Returns the id of the device of a token, valid or not. Returns undefined if it is not a device of the
 * account.
 */
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
 * Parses a token: the user, the hash to compare with the stored one, and the issue time in milliseconds since
 * 1970, UTC. The issue time is undefined if there is none or if it is in the future. Returns undefined if the
 * text is no token.
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

/** Compares two hashes in constant time. */
export function hashesEqual(a: Uint8Array, b: Uint8Array): boolean {
  return a.length === b.length && timingSafeEqual(a, b);
}

function hashOf(secret: string): Uint8Array {
  return new Uint8Array(createHash("sha256").update(Buffer.from(secret, "base64url")).digest());
}
