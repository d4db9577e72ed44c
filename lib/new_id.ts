/** Creates random ids of deployments, epochs and nodes, and the cluster key of a deployment. */

const ID_BYTES = 8; // 64 random bits: two equal ids are practically impossible

/** Returns a new random id: 16 hexadecimal digits. */
export function newId(): string {
  return crypto.getRandomValues(new Uint8Array(ID_BYTES)).toHex();
}

const KEY_BYTES = 32; // the output size of HMAC-SHA-256, as RFC 2104 recommends in section 3

/** Returns a new cluster key: 64 hexadecimal digits. */
export function newClusterKey(): string {
  return crypto.getRandomValues(new Uint8Array(KEY_BYTES)).toHex();
}
