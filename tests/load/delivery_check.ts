/** Whether what one recipient got of one conversation is what it must get: each message once, in the order of the seqs. */

/** What became of the messages for one recipient, or for several together. */
export interface Balance {
  /** Received, each counted once. */
  readonly delivered: number;
  /** Acknowledged and never received. */
  readonly lost: number;
  /** Received again though the recipient hadn't logged in again. */
  readonly duplicated: number;
  /** Received with another seq than the next one after the last. */
  readonly outOfOrder: number;
}

const NONE: ReadonlySet<number> = new Set();

/** `came` and `acked` are seqs, of which the recipient doesn't get its `own`. */
export function checkDelivery(
  came: readonly number[],
  acked: readonly number[],
  own: ReadonlySet<number> = NONE,
): Balance {
  const last = Math.max(came.reduce(larger, 0), acked.reduce(larger, 0));
  const seen = new Uint8Array(last + 1); // a byte each: a run has millions
  let [delivered, duplicated, outOfOrder, next] = [0, 0, 0, 1];
  for (const seq of came) {
    if (seen[seq]) {
      duplicated++;
      continue;
    }
    seen[seq] = 1;
    delivered++;
    while (own.has(next)) next++;
    if (seq !== next) outOfOrder++;
    next = seq + 1;
  }
  const lost = acked.reduce((sum, seq) => seen[seq] || own.has(seq) ? sum : sum + 1, 0);
  return { delivered, lost, duplicated, outOfOrder };
}

/** Those of several recipients as one. */
export function sumOf(balances: readonly Balance[]): Balance {
  const sum = (count: (of: Balance) => number) => balances.reduce((all, one) => all + count(one), 0);
  return {
    delivered: sum(({ delivered }) => delivered),
    lost: sum(({ lost }) => lost),
    duplicated: sum(({ duplicated }) => duplicated),
    outOfOrder: sum(({ outOfOrder }) => outOfOrder),
  };
}

function larger(one: number, other: number): number {
  return one > other ? one : other;
}
