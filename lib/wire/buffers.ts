/**
 * Large buffers that are used again. What is taken outside the heap and left there has the runtime look for garbage, and
 * all work waits for that: clients who come and go with large frames would see to it every second.
 */

const LEAST = 1_024; // bytes: smaller ones are not kept, but parts of a larger one, as the runtime has some 300 for each
const SHARED = 4_096; // bytes of which small ones are parts: so much is held as long as one of them is
const KEPT = 4 * 1_024 * 1_024; // bytes of all that are kept: fifty connections' at their largest

const unused = new Map<number, Uint8Array[]>(); // by length
let kept = 0;
let shared: Uint8Array = new Uint8Array(0); // what no part of is taken yet

/** A buffer of so many bytes, which may hold anything: its user reads only what it has written. */
export function takeBuffer(length: number): Uint8Array {
  if (length < LEAST) return takePart(length);
  const buffer = unused.get(length)?.pop();
  if (buffer) kept -= length;
  return buffer ?? new Uint8Array(length);
}

/** Gives a whole buffer back, of which no part is used any more. */
export function giveBuffer(buffer: Uint8Array): void {
  const { length } = buffer;
  if (length < LEAST || kept + length > KEPT) return;
  kept += length;
  const others = unused.get(length);
  if (others) others.push(buffer);
  else unused.set(length, [buffer]);
}

function takePart(length: number): Uint8Array {
  if (shared.length < length) shared = new Uint8Array(SHARED);
  const part = shared.subarray(0, length);
  shared = shared.subarray(length);
  return part;
}
