/**
 * The thread that hashes passwords, one after the other. It has a low priority, because a hash takes a third
 * of a second of a core. A flood of guesses would otherwise delay all messages.
 */
import { scryptSync } from "node:crypto";
import { getPriority, setPriority } from "node:os";
import type { HashRequest, HashResult } from "./hash_worker.ts";

/**
 * The niceness of this thread, as in nice(1), added to that of the process. On a busy core it gets about a
 * tenth.
 */
const NICENESS = 10;
/** The highest niceness of Linux. */
const MAX_NICENESS = 19;

const THIS_THREAD = 0; // on Linux; on other systems 0 is the whole process

const scope = globalThis as unknown as {
  onmessage: (event: MessageEvent<HashRequest>) => void;
  postMessage(result: HashResult): void;
};

try {
  if (Deno.build.os === "linux") {
    setPriority(THIS_THREAD, Math.min(getPriority(THIS_THREAD) + NICENESS, MAX_NICENESS));
  }
} catch {
  // without the permission for it, the thread has the usual priority
}

scope.onmessage = ({ data: { password, salt, length, cost: { ln, r, p } } }) => {
  try {
    const N = 2 ** ln;
    // bytes: twice the memory of scrypt, because the limit is checked against a rough estimate
    const maxmem = 2 * 128 * N * r + 128 * r * p;
    scope.postMessage({ key: new Uint8Array(scryptSync(password, salt, length, { N, r, p, maxmem })) });
  } catch (error) {
    scope.postMessage({ error });
  }
};
