/**
 * scrypt (RFC 7914), the method of earlier releases. Its hashes are verified, and replaced at the user's next
 * login. The runtime derives the keys in threads of its own.
 */
import { scrypt } from "node:crypto";

/** The cost of scrypt: N is 2 to the power of `ln`. */
export interface ScryptCost {
  readonly method: "scrypt";
  readonly ln: number;
  readonly r: number;
  readonly p: number;
}

/**
 * Halvings of N in the hashes that make up for a difference. With 4, the remaining difference is under a
 * tenth.
 */
const MAX_HALVINGS = 4;

/** Derives a key of `length` bytes. */
export function deriveScrypt(
  password: string,
  salt: Uint8Array,
  length: number,
  cost: ScryptCost,
): Promise<Uint8Array> {
  const { ln, r, p } = cost;
  // bytes: twice the memory, because the limit is checked against a rough estimate
  const maxmem = 2 * scryptMemory(cost);
  return new Promise((resolve, reject) => {
    scrypt(password, salt, length, { N: 2 ** ln, r, p, maxmem }, (error, key) => {
      if (error) reject(error);
      else resolve(key);
    });
  });
}

/** Returns whether scrypt has such a cost (RFC 7914, section 6). */
export function isScryptCost({ ln, r, p }: ScryptCost): boolean {
  return ln >= 1 && r >= 1 && p >= 1 && ln < 16 * r;
}

/** Returns the memory of a hash in bytes. */
export function scryptMemory({ ln, r, p }: ScryptCost): number {
  return 128 * r * (2 ** ln + p);
}

/** Returns the work of a hash in units of about 0.4 µs. */
export function scryptWork({ ln, r, p }: ScryptCost): number {
  return 2 ** ln * r * p;
}

/** Returns the costs of further hashes whose work is about `missing`, with no more memory than `wanted`. */
export function scryptParts(missing: number, wanted: ScryptCost): ScryptCost[] {
  const parts: ScryptCost[] = [];
  for (let ln = wanted.ln; ln >= Math.max(1, wanted.ln - MAX_HALVINGS); ln--) {
    const part = { ...wanted, ln };
    const p = Math.floor(missing / scryptWork({ ...part, p: 1 }));
    if (p <= 0) continue;
    parts.push({ ...part, p });
    missing -= scryptWork({ ...part, p });
  }
  return parts;
}
