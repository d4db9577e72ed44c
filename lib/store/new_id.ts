/** Random ids of deployments and epochs, and the key of a deployment. */

const ID_BYTES = 8; // no two deployments or epochs ever have the same

/** A new deployment's or epoch's id: 16 hexadecimal digits. */
export function newId(): string {
  return crypto.getRandomValues(new Uint8Array(ID_BYTES)).toHex();
}

const KEY_BYTES = 32; // as long as what HMAC-SHA-256 makes of it: RFC 2104, section 3

/** A new deployment's key: 64 hexadecimal digits. */
export function newClusterKey(): string {
  return crypto.getRandomValues(new Uint8Array(KEY_BYTES)).toHex();
}
