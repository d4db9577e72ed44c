/**
 * Where a Redis Cluster keeps what: https://redis.io/docs/latest/operate/oss_and_stack/reference/cluster-spec
 */

/** How many slots a cluster shares out among its masters. */
export const SLOT_COUNT = 16_384;

const POLYNOMIAL = 0x1021; // of CRC16 as in XMODEM
const encoder = new TextEncoder();

/** The slot of a key or a sharded channel: of what is in its first braces, if that is anything. */
export function keySlot(name: string): number {
  const open = name.indexOf("{");
  const close = name.indexOf("}", open + 1);
  const hashed = open >= 0 && close > open + 1 ? name.slice(open + 1, close) : name;
  let crc = 0;
  for (const byte of encoder.encode(hashed)) {
    crc ^= byte << 8;
    for (let bit = 0; bit < 8; bit++) crc = crc & 0x8000 ? crc << 1 ^ POLYNOMIAL : crc << 1;
    crc &= 0xffff;
  }
  return crc % SLOT_COUNT;
}
