/** Steps that several attack types share. */
import { joined, objectFrame } from "../harness/frames.ts";

// bytes of one write of a flood: with fewer the attackers use more CPU time than the server
const WRITE_BYTES = 65_536;

/** Returns as many repetitions of the bytes as fit into one write. */
export function repeatToFill(bytes: Uint8Array): Uint8Array {
  return joined(...Array.from({ length: Math.max(1, Math.floor(WRITE_BYTES / bytes.length)) }, () => bytes));
}

/** Returns `count` frames made by `make`, for one write. */
export function frames(count: number, make: () => unknown): Uint8Array {
  return joined(...Array.from({ length: count }, () => objectFrame(make())));
}

/** Never resolves, for an attack that stays connected and sends nothing more. */
export function waitForever(): Promise<never> {
  return new Promise(() => {});
}
