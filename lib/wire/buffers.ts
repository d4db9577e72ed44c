/**
 * Large buffers that are used again. What is taken outside the heap and left there has the runtime look for garbage, and
 * all work waits for that: clients who come and go with large frames would see to it every second.
 */

const MIN_POOLED_BYTES = 1_024; // bytes: smaller ones are not kept, but parts of a larger one, as the runtime has some 300 for each
const SLAB_BYTES = 4_096; // bytes of which small ones are parts: so much is held as long as one of them is
const MAX_POOLED_BYTES = 4 * 1_024 * 1_024; // bytes of all that are kept: fifty connections' at their largest

const pool = new Map<number, Uint8Array[]>(); // by length
let pooledBytes = 0;
let slab: Uint8Array = new Uint8Array(0); // what no part of is taken yet

/** A buffer of so many bytes, which may hold anything: its user reads only what it has written. */
export function acquireBuffer(length: number): Uint8Array {
  if (length < MIN_POOLED_BYTES) return sliceFromSlab(length);
  const buffer = pool.get(length)?.pop();
  if (buffer) pooledBytes -= length;
  return buffer ?? new Uint8Array(length);
}

/** Gives a whole buffer back, of which no part is used any more. */
export function releaseBuffer(buffer: Uint8Array): void {
  const { length } = buffer;
  if (length < MIN_POOLED_BYTES || pooledBytes + length > MAX_POOLED_BYTES) return;
  pooledBytes += length;
  const others = pool.get(length);
  if (others) others.push(buffer);
  else pool.set(length, [buffer]);
}

function sliceFromSlab(length: number): Uint8Array {
  if (slab.length < length) slab = new Uint8Array(SLAB_BYTES);
  const part = slab.subarray(0, length);
  slab = slab.subarray(length);
  return part;
}
