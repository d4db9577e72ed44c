/** Random ids of deployments and epochs. */

const ID_BYTES = 8; // no two deployments or epochs ever have the same

/** A new deployment's or epoch's id: 16 hexadecimal digits. */
export function newId(): string {
  return crypto.getRandomValues(new Uint8Array(ID_BYTES)).toHex();
}
