/**
 * SipHash-2-4 by J.-P. Aumasson and D. J. Bernstein (2012), as RFC 9018 uses it too: a message authentication code for
 * short messages, with a key of 128 bits and a tag of 64. It is here because of its cost, for which see signer.ts.
 *
 * Numbers of 64 bits are pairs of 32, as JavaScript adds those without allocating: `l` is the lower half, `h` the upper.
 */

const BLOCK_BYTES = 8;
const COMPRESSION_ROUNDS = 2;
const FINALIZATION_ROUNDS = 4;

/** 32-bit words of a key, and of a tag. */
export const KEY_WORDS = 4;
export const TAG_WORDS = 2;

/** Words that a message of so many bytes takes with its padding. */
export function wordsFor(byteLength: number): number {
  return 2 * (Math.floor(byteLength / BLOCK_BYTES) + 1);
}

/**
 * Writes the tag of a message. `words` holds the message in its first `byteLength` bytes, and has room for
 * {@link wordsFor} words: what is behind the message is overwritten with its padding. Words are little-endian, as on
 * all machines that the runtime supports.
 */
export function sipHash(words: Int32Array, byteLength: number, key: Int32Array, tag: Int32Array): void {
  const count = wordsFor(byteLength);
  pad(words, byteLength, count);
  const k0l = key[0]!, k0h = key[1]!, k1l = key[2]!, k1h = key[3]!;
  let v0l = k0l ^ 0x70736575, v0h = k0h ^ 0x736f6d65; // "somepseudorandomlygeneratedbytes"
  let v1l = k1l ^ 0x6e646f6d, v1h = k1h ^ 0x646f7261;
  let v2l = k0l ^ 0x6e657261, v2h = k0h ^ 0x6c796765;
  let v3l = k1l ^ 0x79746573, v3h = k1h ^ 0x74656462;
  for (let at = 0; at <= count; at += 2) {
    const isLast = at === count;
    const ml = isLast ? 0 : words[at]!, mh = isLast ? 0 : words[at + 1]!;
    v3l ^= ml;
    v3h ^= mh;
    if (isLast) v2l ^= 0xff;
    for (let round = isLast ? FINALIZATION_ROUNDS : COMPRESSION_ROUNDS; round > 0; round--) {
      let t = (v0l + v1l) | 0; // v0 += v1; v1 = (v1 <<< 13) ^ v0; v0 <<<= 32
      v0h = (v0h + v1h + (t >>> 0 < v0l >>> 0 ? 1 : 0)) | 0;
      v0l = t;
      t = v1l << 13 | v1h >>> 19;
      v1h = (v1h << 13 | v1l >>> 19) ^ v0h;
      v1l = t ^ v0l;
      t = v0l;
      v0l = v0h;
      v0h = t;
      t = (v2l + v3l) | 0; // v2 += v3; v3 = (v3 <<< 16) ^ v2
      v2h = (v2h + v3h + (t >>> 0 < v2l >>> 0 ? 1 : 0)) | 0;
      v2l = t;
      t = v3l << 16 | v3h >>> 16;
      v3h = (v3h << 16 | v3l >>> 16) ^ v2h;
      v3l = t ^ v2l;
      t = (v0l + v3l) | 0; // v0 += v3; v3 = (v3 <<< 21) ^ v0
      v0h = (v0h + v3h + (t >>> 0 < v0l >>> 0 ? 1 : 0)) | 0;
      v0l = t;
      t = v3l << 21 | v3h >>> 11;
      v3h = (v3h << 21 | v3l >>> 11) ^ v0h;
      v3l = t ^ v0l;
      t = (v2l + v1l) | 0; // v2 += v1; v1 = (v1 <<< 17) ^ v2; v2 <<<= 32
      v2h = (v2h + v1h + (t >>> 0 < v2l >>> 0 ? 1 : 0)) | 0;
      v2l = t;
      t = v1l << 17 | v1h >>> 15;
      v1h = (v1h << 17 | v1l >>> 15) ^ v2h;
      v1l = t ^ v2l;
      t = v2l;
      v2l = v2h;
      v2h = t;
    }
    v0l ^= ml;
    v0h ^= mh;
  }
  tag[0] = v0l ^ v1l ^ v2l ^ v3l;
  tag[1] = v0h ^ v1h ^ v2h ^ v3h;
}

/** Fills the last block up with zeros, and the length modulo 256 as its last byte. */
function pad(words: Int32Array, byteLength: number, count: number): void {
  const at = byteLength >>> 2;
  const bits = (byteLength & 3) << 3;
  const last = words[at]! & ((1 << bits) - 1); // bits is 0, 8, 16 or 24
  words[count - 2] = at === count - 2 ? last : words[count - 2]!;
  words[count - 1] = (at === count - 1 ? last : 0) | byteLength << 24;
}
