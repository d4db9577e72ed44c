/**
 * A pool of buffers. Memory outside the heap makes the runtime collect garbage, which stops all other work.
 * Without the pool, clients that connect, send large frames and leave would cause a collection every second.
 */

// Smaller buffers are slices of a larger one, as the runtime needs about 300 bytes for each buffer.
const MIN_POOLED_BYTES = 1_024;
const SLAB_BYTES = 4_096; // size of the larger buffer, which lives as long as one of its slices
const MAX_POOLED_BYTES = 4 * 1_024 * 1_024; // the largest buffers of about fifty connections

const pool = new Map<number, Uint8Array[]>(); // free buffers by length
let pooledBytes = 0;
let slab: Uint8Array = new Uint8Array(0); // the free part of the current slab

/**
 * Returns a buffer of `length` bytes with arbitrary content. The caller must write bytes before it reads
 * them.
 */
export function acquireBuffer(length: number): Uint8Array {
  if (length < MIN_POOLED_BYTES) return sliceFromSlab(length);
  const buffer = pool.get(length)?.pop();
  if (buffer) pooledBytes -= length;
  return buffer ?? new Uint8Array(length);
}

/** Returns a whole buffer to the pool. The caller must not use any part of it afterwards. */
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
