/**
 * The baseline: pairs of users that chat at a fixed rate, independent of the server. The loop is open: the
 * latency of a message begins at its due time, so that a message that waits in this program counts as slow,
 * too.
 */
import { Errno, Msg, type Received } from "../harness/protocol_numbers.ts";
import { pause, until } from "../harness/wait.ts";
import { type Latency, latency } from "../load/latency.ts";
import type { Peer } from "../load/peer.ts";
import { Schedule } from "../load/schedule.ts";

/** Latencies in milliseconds of the messages that were due in one interval. */
export interface Phase {
  readonly ack: Latency;
  readonly delivery: Latency;
  /**
   * The time from a message's due time until this program sent it: the delay of this machine, not of the
   * server.
   */
  readonly sendDelay: Latency;
}

/** The fate of all messages. */
export interface Balance {
  readonly sent: number;
  /** Acknowledged but not received. */
  readonly lost: number;
  /** Received more than once. */
  readonly duplicated: number;
  /** Refused with an errno other than 0. */
  readonly refused: number;
  /** Without a reply. */
  readonly unanswered: number;
  /** Connections that ended. */
  readonly disconnected: number;
}

const DELIVERED_INTERVAL_MS = 100; // milliseconds between two DELIVERED of a recipient, as in the client
const DRAIN_TIMEOUT_MS = 30_000; // milliseconds after which outstanding messages count as lost
const MS_PER_SECOND = 1_000; // milliseconds

/** The latencies of a measured interval. */
class Interval {
  readonly ack: number[] = [];
  readonly delivery: number[] = [];
  readonly sendDelay: number[] = [];
}

interface Sending {
  readonly due: number;
  readonly interval: Interval | undefined;
  acked: boolean;
  received: boolean;
}

/** All pairs. They chat from the construction until {@link Baseline.stop}. */
export class Baseline {
  readonly #pairs: readonly Pair[];
  #interval: Interval | undefined;
  #disconnected = 0;

  /** `pairs` are senders and recipients, logged in; `rate` is messages per second of each pair. */
  constructor(pairs: readonly (readonly [sender: Peer, recipient: Peer])[], rate: number) {
    const every = MS_PER_SECOND / rate;
    const start = performance.now() + every;
    this.#pairs = pairs.map(([sender, recipient], at) => {
      sender.onEnd = recipient.onEnd = () => this.#disconnected++;
      return new Pair(sender, recipient, start + every * at / pairs.length, every, () => this.#interval);
    });
  }

  /**
   * Measures the messages that are due until `work` settles. The result computes the latencies when it is
   * called.
   */
  async during(work: Promise<void>): Promise<() => Phase> {
    const interval = this.#interval = new Interval();
    await work;
    this.#interval = undefined;
    return () => ({
      ack: latency(interval.ack),
      delivery: latency(interval.delivery),
      sendDelay: latency(interval.sendDelay),
    });
  }

  /** Stops sending, waits for the messages in flight, closes the connections and returns the counts. */
  async stop(): Promise<Balance> {
    for (const pair of this.#pairs) pair.stop();
    await until(() => this.#pairs.every((pair) => pair.isQuiet), "the last messages", DRAIN_TIMEOUT_MS).catch(
      () => {},
    );
    const disconnected = this.#disconnected;
    for (const pair of this.#pairs) await pair.close();
    const sum = (count: (pair: Pair) => number) => this.#pairs.reduce((all, pair) => all + count(pair), 0);
    return {
      sent: sum((pair) => pair.sent),
      lost: sum((pair) => pair.lost),
      duplicated: sum((pair) => pair.duplicated),
      refused: sum((pair) => pair.refused),
      unanswered: sum((pair) => pair.unanswered),
      disconnected,
    };
  }
}

class Pair {
  refused = 0;
  duplicated = 0;
  readonly #sender: Peer;
  readonly #recipient: Peer;
  readonly #schedule: Schedule;
  readonly #interval: () => Interval | undefined;
  readonly #sendings: Sending[] = [];
  #answered = 0;
  #lastSeq = 0;
  #deliveredTimer: ReturnType<typeof setTimeout> | undefined;

  constructor(
    sender: Peer,
    recipient: Peer,
    start: number,
    every: number,
    interval: () => Interval | undefined,
  ) {
    this.#sender = sender;
    this.#recipient = recipient;
    this.#interval = interval;
    sender.onMessage = (message) => this.#onAck(message);
    recipient.onMessage = (message) => this.#onMessage(message);
    this.#schedule = new Schedule(start, every, (due) => this.#send(due));
  }

  get sent(): number {
    return this.#sendings.length;
  }

  get unanswered(): number {
    return this.sent - this.#answered;
  }

  get lost(): number {
    return this.#sendings.filter(({ acked, received: came }) => acked && !came).length;
  }

  /** Whether all messages have a reply and all acknowledged ones were received. */
  get isQuiet(): boolean {
    return this.unanswered === 0 && this.lost === 0;
  }

  stop(): void {
    this.#schedule.stop();
  }

  async close(): Promise<void> {
    clearTimeout(this.#deliveredTimer);
    await this.#sender.close();
    await this.#recipient.close();
  }

  #send(due: number): void {
    const interval = this.#interval();
    interval?.sendDelay.push(performance.now() - due);
    const number = this.#sendings.push({ due, interval: interval, acked: false, received: false }) - 1;
    this.#sender.send({
      msgid: Msg.ONE_CHAT,
      toid: this.#recipient.id,
      msg: `message ${number}`,
      cid: `${number}`,
      rid: number,
    });
  }

  #onAck({ of, errno, rid }: Received): void {
    if (of !== Msg.ONE_CHAT) return;
    this.#answered++;
    const sending = this.#sendings[Number(rid)]!;
    if (errno === Errno.OK) {
      sending.acked = true;
      sending.interval?.ack.push(performance.now() - sending.due);
    } else this.refused++;
  }

  #onMessage({ msgid, id, cid, seq }: Received): void {
    if (msgid !== Msg.ONE_CHAT || id !== this.#sender.id) return;
    const sending = this.#sendings[Number(cid)]!;
    if (sending.received) this.duplicated++;
    else sending.interval?.delivery.push(performance.now() - sending.due);
    sending.received = true;
    this.#lastSeq = seq!;
    this.#deliveredTimer ??= setTimeout(() => this.#sendDelivered(), DELIVERED_INTERVAL_MS);
  }

  #sendDelivered(): void {
    this.#deliveredTimer = undefined;
    this.#recipient.send({ msgid: Msg.DELIVERED, id: this.#sender.id, seq: this.#lastSeq });
  }
}

/** Resolves after `count` seconds. */
export function seconds(count: number): Promise<void> {
  return pause(count * MS_PER_SECOND);
}
