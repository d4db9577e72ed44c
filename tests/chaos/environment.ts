/** The environment of the simulated users, and their behaviour. */
import { Errno, type Received } from "../harness/protocol_numbers.ts";
import type { Random } from "../harness/random.ts";
import type { Address } from "../harness/server.ts";

/** The environment that all users of a run share. */
export interface RunContext {
  /** Milliseconds since the run began. */
  readonly clock: () => number;
  /** Counts events by name. */
  readonly count: (what: string) => void;
  /** Records violations that the checker cannot see. */
  readonly report: (problem: string) => void;
}

/** The behaviour of a user, chosen by the seed of the run. */
export interface Manners {
  /** The addresses to connect to, in turn when one fails. */
  readonly addresses: readonly Address[];
  /** ms without a reply after which the user closes a connection. */
  readonly replyTimeoutMs: number;
  /** ms for which the user collects messages before a DELIVERED. */
  readonly gather: number;
  /** The share of connections, 0 to 1, that send no DELIVERED, so that the next one must. */
  readonly mute: number;
  /** Random values for decisions that depend on the moment and not on the plan. */
  readonly random: Random;
}

/**
 * Reports a refusal unless it has a retry_after. An ended connection, which brought no reply, is not
 * reported.
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
