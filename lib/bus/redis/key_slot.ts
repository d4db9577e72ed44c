/** The slots of a Redis Cluster: https://redis.io/docs/latest/operate/oss_and_stack/reference/cluster-spec */

/** The number of slots that a cluster divides among its masters. */
export const SLOT_COUNT = 16_384;

const POLYNOMIAL = 0x1021; // of CRC16/XMODEM
const encoder = new TextEncoder();

/**
 * Returns the slot of a key or a sharded channel. If the first braces of the name are not empty, their
 * content decides.
 */
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
