/**
 * The thread that hashes passwords, one after the other. Everything else goes first: a hash is worth a
 * quarter of a second of a core, and a flood of guesses would otherwise slow every message down.
 */
import { scryptSync } from "node:crypto";
import { getPriority, setPriority } from "node:os";
import type { HashRequest, HashResult } from "./hash_worker.ts";

/**
 * As nice(1) counts, beyond the process's own: while others want the core, about a tenth of it is left for
 * this thread.
 */
const NICENESS = 10;
/** Linux's highest. */
const MAX_NICENESS = 19;

const THIS_THREAD = 0; // to Linux; elsewhere it is the whole process

const scope = globalThis as unknown as {
  onmessage: (event: MessageEvent<HashRequest>) => void;
  postMessage(result: HashResult): void;
};

try {
  if (Deno.build.os === "linux") {
    setPriority(THIS_THREAD, Math.min(getPriority(THIS_THREAD) + NICENESS, MAX_NICENESS));
  }
} catch {
  // without these permissions it shares the cores with the others as an equal
}

scope.onmessage = ({ data: { password, salt, length, cost: { ln, r, p } } }) => {
  try {
    const N = 2 ** ln;
    // bytes; twice what it needs, as the limit is counted roughly
    const maxmem = 2 * 128 * N * r + 128 * r * p;
    scope.postMessage({ key: new Uint8Array(scryptSync(password, salt, length, { N, r, p, maxmem })) });
  } catch (error) {
    scope.postMessage({ error });
  }
};
