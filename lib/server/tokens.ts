/** A session's token: `USER.SECRET`. The store keeps only a hash, which is enough: the secret is random and long. */
import { Buffer } from "node:buffer";
import { createHash, randomBytes, timingSafeEqual } from "node:crypto";

const SECRET = 32; // bytes, so 256 random bits: no hash that is slow on purpose is needed
const TOKEN = /^([1-9]\d{0,9})\.([A-Za-z0-9_-]{43})$/;

/** A new token, and the hash to keep of it. */
export function makeToken(user: number): { text: string; hash: Uint8Array } {
  const secret = randomBytes(SECRET).toString("base64url");
  return { text: `${user}.${secret}`, hash: hashOf(secret) };
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
