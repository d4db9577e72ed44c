/** How much work a hash of some cost is, and what makes up for the difference to another. */
import type { Cost } from "./hash_worker.ts";

/**
 * Halvings of N for which a rest of the difference is made up: what is left is under a tenth of the whole.
 */
const MAX_HALVINGS = 4;

/**
 * Costs of hashes that, after one of cost `had`, make as much work as one of cost `wanted`; none if that was
 * as much already. Work is N · r · p: a wrong password for an account whose hash is of an earlier, smaller
 * cost must not be refused sooner than one for an account that is not there.
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
