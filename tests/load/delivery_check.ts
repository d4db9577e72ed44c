/** Checks the messages that a recipient received: each message once, in the order of the seqs. */

/** The fate of the messages for one or more recipients. */
export interface Balance {
  /** Received; repeats are not counted. */
  readonly delivered: number;
  /** Acknowledged but not received. */
  readonly lost: number;
  /** Received again without another login of the recipient. */
  readonly duplicated: number;
  /** Received with a seq that does not follow the last one. */
  readonly outOfOrder: number;
}

const NONE: ReadonlySet<number> = new Set();

/** Compares the received seqs with the acknowledged ones. The recipient is not sent the seqs in `own`. */
export function checkDelivery(
  came: readonly number[],
  acked: readonly number[],
  own: ReadonlySet<number> = NONE,
): Balance {
  const last = Math.max(came.reduce(larger, 0), acked.reduce(larger, 0));
  const seen = new Uint8Array(last + 1); // one byte each, as a run has millions
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

/** Returns the sum of the balances of several recipients. */
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
