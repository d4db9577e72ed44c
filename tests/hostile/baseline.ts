/**
 * The honest users: pairs who chat at a steady rate whatever the server does. The loop is open: a message's time runs
 * from when it was due, so that one that waits for its turn here, or behind another, counts as slow too.
 */
import { Errno, Msg, type Received } from "../harness/protocol_numbers.ts";
import { pause, until } from "../harness/wait.ts";
import { type Latency, latency } from "../load/latency.ts";
import type { Peer } from "../load/peer.ts";
import { Schedule } from "../load/schedule.ts";

/** Times, in milliseconds, of the messages that were due in one stretch of time. */
export interface Phase {
  readonly ack: Latency;
  readonly delivery: Latency;
  /** From when a message was due to when this program sent it: what the machine, and not the server, is slow by. */
  readonly own: Latency;
}

/** What became of all messages. */
export interface Balance {
  readonly sent: number;
  /** Acknowledged and never received. */
  readonly lost: number;
  /** Received again. */
  readonly doubled: number;
  /** Answered with another errno than 0. */
  readonly refused: number;
  /** Never answered. */
  readonly unanswered: number;
  /** Connections that ended. */
  readonly cutOff: number;
}

const DELIVERED_EVERY = 100; // milliseconds between two DELIVERED of a recipient: what the client does
const DRAIN = 30_000; // milliseconds for the last messages to come, after which they count as lost
const SECOND = 1_000; // milliseconds

/** A stretch of time that is being measured. */
class Interval {
  readonly ack: number[] = [];
  readonly delivery: number[] = [];
  readonly own: number[] = [];
}

interface Sending {
  readonly due: number;
  readonly interval: Interval | undefined;
  acked: boolean;
  came: boolean;
}

/** All pairs. They chat from when this is made until {@link Baseline.stop}. */
export class Baseline {
  readonly #pairs: readonly Pair[];
  #stretch: Interval | undefined;
  #cutOff = 0;

  /** `pairs` are senders and recipients, logged in; `rate` is messages per second of each pair. */
  constructor(pairs: readonly (readonly [sender: Peer, recipient: Peer])[], rate: number) {
    const every = SECOND / rate;
    const start = performance.now() + every;
    this.#pairs = pairs.map(([sender, recipient], at) => {
      sender.onEnd = recipient.onEnd = () => this.#cutOff++;
      return new Pair(sender, recipient, start + every * at / pairs.length, every, () => this.#stretch);
    });
  }

  /** Measures what becomes of the messages that are due while `work` is under way. Gives the times later. */
  async during(work: Promise<void>): Promise<() => Phase> {
    const stretch = this.#stretch = new Interval();
    await work;
    this.#stretch = undefined;
    return () => ({
      ack: latency(stretch.ack),
      delivery: latency(stretch.delivery),
      own: latency(stretch.own),
    });
  }

  /** Sends no more, waits for what is under way, closes the connections, and counts. */
  async stop(): Promise<Balance> {
    for (const pair of this.#pairs) pair.stop();
    await until(() => this.#pairs.every((pair) => pair.isQuiet), "the last messages", DRAIN).catch(() => {});
    const cutOff = this.#cutOff;
    for (const pair of this.#pairs) await pair.close();
    const sum = (count: (pair: Pair) => number) => this.#pairs.reduce((all, pair) => all + count(pair), 0);
    return {
      sent: sum((pair) => pair.sent),
      lost: sum((pair) => pair.lost),
      doubled: sum((pair) => pair.doubled),
      refused: sum((pair) => pair.refused),
      unanswered: sum((pair) => pair.unanswered),
      cutOff,
    };
  }
}

class Pair {
  refused = 0;
  doubled = 0;
  readonly #sender: Peer;
  readonly #recipient: Peer;
  readonly #schedule: Schedule;
  readonly #stretch: () => Interval | undefined;
  readonly #sendings: Sending[] = [];
  #answered = 0;
  #lastSeq = 0;
  #saying: ReturnType<typeof setTimeout> | undefined;

  constructor(
    sender: Peer,
    recipient: Peer,
    start: number,
    every: number,
    stretch: () => Interval | undefined,
  ) {
    this.#sender = sender;
    this.#recipient = recipient;
    this.#stretch = stretch;
    sender.onMessage = (message) => this.#ackCame(message);
    recipient.onMessage = (message) => this.#messageCame(message);
    this.#schedule = new Schedule(start, every, (due) => this.#send(due));
  }

  get sent(): number {
    return this.#sendings.length;
  }

  get unanswered(): number {
    return this.sent - this.#answered;
  }

  get lost(): number {
    return this.#sendings.filter(({ acked, came }) => acked && !came).length;
  }

  /** Whether everything has been answered and everything acknowledged has come. */
  get isQuiet(): boolean {
    return this.unanswered === 0 && this.lost === 0;
  }

  stop(): void {
    this.#schedule.stop();
  }

  async close(): Promise<void> {
    clearTimeout(this.#saying);
    await this.#sender.close();
    await this.#recipient.close();
  }

  #send(due: number): void {
    const stretch = this.#stretch();
    stretch?.own.push(performance.now() - due);
    const number = this.#sendings.push({ due, interval: stretch, acked: false, came: false }) - 1;
    this.#sender.send({
      msgid: Msg.ONE_CHAT,
      toid: this.#recipient.id,
      msg: `honest message ${number}`,
      cid: `${number}`,
      rid: number,
    });
  }

  #ackCame({ of, errno, rid }: Received): void {
    if (of !== Msg.ONE_CHAT) return;
    this.#answered++;
    const sending = this.#sendings[Number(rid)]!;
    if (errno === Errno.OK) {
      sending.acked = true;
      sending.interval?.ack.push(performance.now() - sending.due);
    } else this.refused++;
  }

  #messageCame({ msgid, id, cid, seq }: Received): void {
    if (msgid !== Msg.ONE_CHAT || id !== this.#sender.id) return;
    const sending = this.#sendings[Number(cid)]!;
    if (sending.came) this.doubled++;
    else sending.interval?.delivery.push(performance.now() - sending.due);
    sending.came = true;
    this.#lastSeq = seq!;
    this.#saying ??= setTimeout(() => this.#sayDelivered(), DELIVERED_EVERY);
  }

  #sayDelivered(): void {
    this.#saying = undefined;
    this.#recipient.send({ msgid: Msg.DELIVERED, id: this.#sender.id, seq: this.#lastSeq });
  }
}

/** Resolves after some seconds. */
export function seconds(count: number): Promise<void> {
  return pause(count * SECOND);
}
