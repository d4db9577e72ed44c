/**
 * Large buffers that are used again. What is taken outside the heap and left there has the runtime look for garbage, and
 * everybody waits for that: clients who come and go with large frames would see to it every second.
 */

const LEAST = 1_024; // bytes: smaller ones cost less to make than to keep
const KEPT = 4 * 1_024 * 1_024; // bytes of all that are kept: fifty connections' at their largest

const unused = new Map<number, Uint8Array[]>(); // by length
let kept = 0;

/** A buffer of so many bytes, which may hold anything: whoever has it reads only what it has written. */
export function takeBuffer(length: number): Uint8Array {
  const buffer = unused.get(length)?.pop();
  if (buffer) kept -= length;
  return buffer ?? new Uint8Array(length);
}

/** Gives a whole buffer back, of which nobody uses any part any more. */
export function giveBuffer(buffer: Uint8Array): void {
  const { length } = buffer;
  if (length < LEAST || kept + length > KEPT) return;
  kept += length;
  const others = unused.get(length);
  if (others) others.push(buffer);
  else unused.set(length, [buffer]);
}
