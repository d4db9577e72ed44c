/** Pairs: each sender has a recipient of its own. */
import { Msg } from "../harness/protocol_numbers.ts";
import type { Address } from "../harness/server.ts";
import type { Costs } from "./cpu.ts";
import { type Balance, checkDelivery, sumOf } from "./delivery_check.ts";
import type { Latency } from "./latency.ts";
import { inParallel, Peer } from "./peer.ts";
import { Recipient } from "./recipient.ts";
import { Run } from "./run.ts";
import { begin, type Pace, Sender } from "./sender.ts";

/** The parameters of a run. */
export interface ChatPlan extends Pace {
  /** Senders, each with a recipient of its own. */
  readonly pairs: number;
  /** Length of the measured part. */
  readonly seconds: number;
  /** Characters of each message. */
  readonly size: number;
  /** Ids of the processes whose CPU time is measured. */
  readonly pids: readonly number[];
}

/**
 * The result of a run. Counts cover the whole run. Rates, times and costs per million messages cover the
 * measured part.
 */
export interface ChatResult extends Balance, Costs {
  readonly sent: number;
  /** Undefined in the classic dialect, which has no acknowledgements. */
  readonly acked: number | undefined;
  /** Refused attempts; undefined in the classic dialect. */
  readonly refused: number | undefined;
  /** Acknowledged, or in the classic dialect delivered. */
  readonly messagesPerSecond: number;
  readonly refusedPerSecond: number | undefined;
  readonly ackLatency: Latency | undefined;
  readonly deliveryLatency: Latency;
  /** The send delay of this program when messages are due at fixed times. */
  readonly lateness: Latency | undefined;
}

/** Users that are registered and logged in at the same time. */
export const SETUP_CONCURRENCY = 20;

/** A sender with its recipient. */
class Pair {
  readonly sender: Sender;
  readonly #recipient: Recipient;
  readonly #peers: readonly Peer[];

  constructor(from: Peer, to: Peer, run: Run) {
    const sender = this.sender = new Sender(from, run, { msgid: Msg.ONE_CHAT, toid: to.id });
    const recipient = this.#recipient = new Recipient(
      to,
      Msg.ONE_CHAT,
      { id: from.id },
      ({ cid }) => run.didArrive(sender.dueAt(cid!)),
    );
    from.onMessage = (message) => sender.take(message);
    to.onMessage = (message) => recipient.take(message);
    from.onEnd = to.onEnd = (reason) => run.ended(reason);
    this.#peers = [from, to];
  }

  get balance(): Balance {
    return checkDelivery(this.#recipient.came, this.sender.acked);
  }

  async close(): Promise<void> {
    for (const peer of this.#peers) await peer.close();
  }
}

/**
 * Registers the users, runs the chat, and returns the counts. With several servers a sender is on one of them
 * and its recipient on the next. Throws when a connection ends early.
 */
export async function chat(servers: readonly Address[], plan: ChatPlan): Promise<ChatResult> {
  const run = new Run(plan.size);
  const server = (at: number) => servers[at % servers.length]!;
  const pairs = await inParallel(plan.pairs, SETUP_CONCURRENCY, async (at) => {
    const [sender, recipient] = [await Peer.connect(server(at)), await Peer.connect(server(at + 1))];
    await sender.login(await sender.register(`${run.name} sender ${at}`));
    await recipient.login(await recipient.register(`${run.name} recipient ${at}`));
    return new Pair(sender, recipient, run);
  });
  const stop = begin(pairs.map(({ sender }) => sender), plan, run);
  const part = await run.measure(plan.seconds, plan.pids);
  stop();
  await run.settle(() => run.isAnswered && run.arrived >= run.acked);
  for (const pair of pairs) await pair.close();
  return {
    sent: run.sent,
    acked: run.acked,
    refused: run.refused,
    ...sumOf(pairs.map(({ balance }) => balance)),
    messagesPerSecond: part.acked / part.seconds,
    refusedPerSecond: part.refused / part.seconds,
    ackLatency: run.ackLatency,
    deliveryLatency: run.deliveryLatency,
    lateness: plan.rate === undefined ? undefined : run.lateness,
    ...part.costs(part.acked),
  };
}
