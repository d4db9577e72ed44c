/**
 * A session's token: `USER.SECRET`. The store keeps only a hash, which is enough: the secret is random and long. Its first
 * half tells a device that has logged in to the account before, also when the token itself is no longer valid.
 */
import { Buffer } from "node:buffer";
import { createHash, createHmac, randomBytes, timingSafeEqual } from "node:crypto";

const DEVICE_ID = 8; // random bytes
const DEVICE_MAC = 8; // bytes; to guess it is tried with the server, and gains some attempts at the password
const REST = 16; // bytes, so 128 random bits that no device ever tells: no hash that is slow on purpose is needed
const TOKEN = /^([1-9]\d{0,9})\.([A-Za-z0-9_-]{43})$/;

/** The first half of a token. */
export type Device = Uint8Array;

/** A new token of a device, and the hash to keep of it. Without a device it is one that is never known again. */
export function makeToken(
  user: number,
  device: Device = randomBytes(DEVICE_ID + DEVICE_MAC),
): { text: string; hash: Uint8Array } {
  const secret = Buffer.concat([device, randomBytes(REST)]).toString("base64url");
  return { text: `${user}.${secret}`, hash: hashOf(secret) };
}

/**
 * A device of the account with this stored password, as OWASP's device cookies are. It is known by that alone, on every
 * node, until the password changes or is hashed anew; a client learns nothing of the hash by it. `id` is that of an
 * earlier device of the account, which this one is.
 */
export function makeDevice(user: number, password: string, id: Uint8Array = randomBytes(DEVICE_ID)): Device {
  return Buffer.concat([id, macOf(user, password, id)]);
}

/** The id of the account's device by which a token was made, valid or not; undefined if it tells of none. */
export function readDevice(token: string, user: number, password: string): Uint8Array | undefined {
  const secret = TOKEN.exec(token)?.[2];
  if (secret === undefined) return undefined;
  const bytes = new Uint8Array(Buffer.from(secret, "base64url"));
  const id = bytes.subarray(0, DEVICE_ID);
  return sameHash(bytes.subarray(DEVICE_ID, DEVICE_ID + DEVICE_MAC), macOf(user, password, id))
    ? id
    : undefined;
}

function macOf(user: number, password: string, id: Uint8Array): Uint8Array {
  const mac = createHmac("sha256", `device of ${password}`).update(`${user}.`).update(id).digest();
  return new Uint8Array(mac.subarray(0, DEVICE_MAC));
}

/** Whose token it says it is, and the hash to compare with the one kept; undefined if it isn't a token at all. */
export function readToken(token: string): { user: number; hash: Uint8Array } | undefined {
  const match = TOKEN.exec(token);
  return match ? { user: Number(match[1]), hash: hashOf(match[2]!) } : undefined;
}

/** Compares two hashes in a time that tells nothing. */
export function sameHash(a: Uint8Array, b: Uint8Array): boolean {
  return a.length === b.length && timingSafeEqual(a, b);
}

function hashOf(secret: string): Uint8Array {
  return new Uint8Array(createHash("sha256").update(Buffer.from(secret, "base64url")).digest());
}
