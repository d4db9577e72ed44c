/** What users have around them, and how each of them is. */
import { Errno, type Received } from "../harness/protocol_numbers.ts";
import type { Random } from "../harness/random.ts";
import type { Address } from "../harness/server.ts";

/** What all users of a run have in common. */
export interface RunContext {
  /** Milliseconds since the run began. */
  readonly clock: () => number;
  /** Counts what happens, by what it is. */
  readonly count: (what: string) => void;
  /** Takes what must never happen and the checker would not see. */
  readonly report: (problem: string) => void;
}

/** How a user behaves; chosen by the run's seed. */
export interface Manners {
  /** Where it connects: to these in turn, when one fails. */
  readonly addresses: readonly Address[];
  /** ms without a reply after which it gives a connection up. */
  readonly replyTimeoutMs: number;
  /** ms for which it gathers what it says DELIVERED of. */
  readonly gather: number;
  /** Of its connections, how many say no DELIVERED at all: the next one has to. 0 to 1. */
  readonly mute: number;
  /** For what follows from the moment and not from the plan. */
  readonly random: Random;
}

/**
 * Reports a refusal, unless it says to come again later, and when. A connection that has ended, and so brought no
 * reply at all, is nothing to report.
 */
export function reportRefusal(
  reply: Received | undefined,
  who: string,
  what: string,
  { count, report }: RunContext,
): void {
  if (reply === undefined) return;
  count(`errno ${reply.errno}`);
  const isLater = reply.errno === Errno.UNAVAILABLE || reply.errno === Errno.RATE_LIMITED;
  if (isLater && typeof reply.retry_after === "number") return;
  report(`${who} was refused ${what}: ${JSON.stringify(reply)}`);
}
