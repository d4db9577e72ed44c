/** The work of hashes of different costs, and hashes that make up for a difference. */
import type { Cost } from "./hash_worker.ts";

/**
 * Halvings of N in the hashes that make up for a difference. With 4, the remaining difference is under a
 * tenth.
 */
const MAX_HALVINGS = 4;

/**
 * Returns the costs of further hashes that, after one of cost `actual`, add up to the work of one of cost
 * `wanted`. The work is N · r · p. Without them, a wrong password for an account with an old, cheaper hash
 * would be refused sooner than one for an unknown account.
 */
export function missingWork(actual: Cost, wanted: Cost): Cost[] {
  const parts: Cost[] = [];
  let missing = work(wanted) - work(actual);
  for (let ln = wanted.ln; ln >= Math.max(1, wanted.ln - MAX_HALVINGS); ln--) {
    const p = Math.floor(missing / work({ ln, r: wanted.r, p: 1 }));
    if (p <= 0) continue;
    const part = { ln, r: wanted.r, p };
    parts.push(part);
    missing -= work(part);
  }
  return parts;
}

function work({ ln, r, p }: Cost): number {
  return 2 ** ln * r * p;
}
