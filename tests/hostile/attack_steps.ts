/** What many hostile kinds do. */
import { joined, objectFrame } from "../harness/frames.ts";

const CHUNK = 65_536; // bytes of a flood's writes: fewer would make the attackers busier than the server

/** As many repetitions as fit in one write. */
export function repeated(bytes: Uint8Array): Uint8Array {
  return joined(...Array.from({ length: Math.max(1, Math.floor(CHUNK / bytes.length)) }, () => bytes));
}

/** As many made by `make` as asked for, in one write. */
export function frames(count: number, make: () => unknown): Uint8Array {
  return joined(...Array.from({ length: count }, () => objectFrame(make())));
}

/** Never resolves: for who has said all there is to say and stays. */
export function waitForever(): Promise<never> {
  return new Promise(() => {});
}
