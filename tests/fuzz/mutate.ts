/** Small changes of bytes, as nearly valid inputs get further than random ones. */
import { joined } from "../harness/frames.ts";
import type { Random } from "../harness/random.ts";

const EDGES = [0x00, 0x01, 0x0a, 0x0d, 0x20, 0x22, 0x5c, 0x7b, 0x7d, 0x7f, 0x80, 0xc0, 0xed, 0xfe, 0xff];

/**
 * Returns the bytes with random changes: flipped bits, other bytes, and parts removed, repeated, moved or cut
 * off.
 */
export function mutated(random: Random, bytes: Uint8Array, changes: number): Uint8Array {
  let changed: Uint8Array = bytes.slice();
  for (let change = 0; change < changes; change++) changed = mutatedOnce(random, changed);
  return changed;
}

function mutatedOnce(random: Random, bytes: Uint8Array): Uint8Array {
  const at = random.below(bytes.length + 1);
  const end = Math.min(bytes.length, at + 1 + random.below(8));
  const [before, piece, behind] = [bytes.subarray(0, at), bytes.subarray(at, end), bytes.subarray(end)];
  switch (random.below(7)) {
    case 0:
      return joined(before, piece.map((byte) => byte ^ (1 << random.below(8))), behind);
    case 1:
      return joined(before, piece.map(() => random.pick(EDGES)), behind);
    case 2:
      return joined(before, behind);
    case 3:
      return joined(before, piece, piece, behind);
    case 4:
      return joined(behind, before, piece);
    case 5:
      return joined(before, random.bytes(1 + random.below(8)), piece, behind);
    default:
      return before;
  }
}
