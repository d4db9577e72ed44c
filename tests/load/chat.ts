/** The closed loop: every sender keeps a window of messages under way, for some seconds. */
import { Errno, Msg, type Received } from "../harness/contract.ts";
import type { Address } from "../harness/server.ts";
import { pause, until } from "../harness/wait.ts";
import { type Cost, CpuMeter } from "./cpu.ts";
import { inParallel, Peer } from "./peer.ts";

/** What to do. */
export interface ChatPlan {
  /** Senders, each with a recipient of its own. */
  readonly pairs: number;
  /** Messages that a sender has under way at once. */
  readonly window: number;
  /** How long the measured part lasts. */
  readonly seconds: number;
  /** Characters of each message. */
  readonly size: number;
  /** The processes whose processor time is wanted. */
  readonly pids: readonly number[];
}

/** Milliseconds: half of them are at most, 95 and 99 in a hundred are at most, all are at most. */
export interface Latency {
  readonly p50: number;
  readonly p95: number;
  readonly p99: number;
  readonly max: number;
}

/** What came of it. Counts are of the whole run; rates, times and costs of its measured part. */
export interface ChatResult {
  readonly sent: number;
  readonly acked: number;
  /** Acknowledged with another errno than 0. */
  readonly refused: number;
  /** Received by their recipient, each counted once. */
  readonly delivered: number;
  /** Acknowledged and never received. */
  readonly lost: number;
  /** Received again though the recipient hadn't logged in again. */
  readonly doubled: number;
  /** Received with another seq than the one after the last. */
  readonly outOfOrder: number;
  readonly messagesPerSecond: number;
  readonly ackLatency: Latency;
  readonly deliveryLatency: Latency;
  /** Processor seconds per million messages: of each process asked for, and this program's own. */
  readonly cpu: readonly Cost[];
  readonly ownCpu: number;
}

const WARM_UP = 1_000; // milliseconds before the measured part, in which both sides' code gets compiled
const DELIVERED_EVERY = 100; // milliseconds between two DELIVERED of a recipient: what the client does
const DRAIN = 10_000; // milliseconds for the last messages to come, after which they count as lost
const SET_UP_WIDTH = 20; // users that are registered and logged in at the same time

/** One sender and one recipient. */
class Pair {
  readonly #sender: Peer;
  readonly #recipient: Peer;
  readonly #run: Run;
  readonly #sentAt: number[] = []; // by seq - 1: a new pair's seqs are 1, 2, 3, …
  readonly #acknowledged: number[] = []; // seqs
  readonly #received = new Set<number>();
  #lastSeq = 0;
  #said = 0; // the seq of the last DELIVERED
  #timer: ReturnType<typeof setTimeout> | undefined;

  constructor(sender: Peer, recipient: Peer, run: Run) {
    this.#sender = sender;
    this.#recipient = recipient;
    this.#run = run;
    sender.onMessage = (message) => this.#acked(message);
    recipient.onMessage = (message) => this.#got(message);
    sender.onEnd = recipient.onEnd = (why) => run.ended(why);
  }

  send(): void {
    const run = this.#run;
    const number = this.#sentAt.push(performance.now());
    run.sent++;
    this.#sender.send({
      msgid: Msg.ONE_CHAT,
      toid: this.#recipient.id,
      msg: run.text,
      cid: `${run.name}-${number}`,
      rid: number,
    });
  }

  /** How many were acknowledged and haven't come. */
  get missing(): number {
    return this.#acknowledged.filter((seq) => !this.#received.has(seq)).length;
  }

  async close(): Promise<void> {
    clearTimeout(this.#timer);
    await this.#sender.close();
    await this.#recipient.close();
  }

  #acked(message: Received): void {
    if (message.of !== Msg.ONE_CHAT) return;
    const run = this.#run;
    if (message.errno === Errno.OK) {
      run.acked++;
      this.#acknowledged.push(message.seq!);
      run.ackTimes?.push(performance.now() - this.#sentAt[Number(message.rid) - 1]!);
    } else run.refused++;
    if (run.going) this.send();
  }

  #got(message: Received): void {
    if (message.msgid !== Msg.ONE_CHAT) return;
    const run = this.#run;
    const seq = message.seq!;
    if (this.#received.has(seq)) {
      run.doubled++;
      return;
    }
    this.#received.add(seq);
    run.delivered++;
    if (seq !== this.#lastSeq + 1) run.outOfOrder++;
    this.#lastSeq = seq;
    run.deliveryTimes?.push(performance.now() - this.#sentAt[seq - 1]!);
    this.#timer ??= setTimeout(() => this.#sayDelivered(), DELIVERED_EVERY);
  }

  #sayDelivered(): void {
    this.#timer = undefined;
    if (this.#lastSeq === this.#said) return;
    this.#said = this.#lastSeq;
    this.#recipient.send({ msgid: Msg.DELIVERED, id: this.#sender.id, seq: this.#said });
  }
}

/** What all pairs of a run share. */
class Run {
  readonly name = crypto.randomUUID().slice(0, 8);
  readonly text: string;
  going = true;
  sent = 0;
  acked = 0;
  refused = 0;
  delivered = 0;
  doubled = 0;
  outOfOrder = 0;
  /** Milliseconds each; only in the measured part. */
  ackTimes: number[] | undefined;
  deliveryTimes: number[] | undefined;
  failure: string | undefined;

  constructor(size: number) {
    this.text = "x".repeat(size);
  }

  ended(why: string): void {
    this.failure ??= why;
    this.going = false;
  }
}

/**
 * Makes the users, lets them chat, and counts. With several servers each pair's sender is on one and its recipient on
 * the next. Throws when a connection ends early.
 */
export async function chat(servers: readonly Address[], plan: ChatPlan): Promise<ChatResult> {
  const run = new Run(plan.size);
  const server = (at: number) => servers[at % servers.length]!;
  const pairs = await inParallel(plan.pairs, SET_UP_WIDTH, async (at) => {
    const [sender, recipient] = [await Peer.connect(server(at)), await Peer.connect(server(at + 1))];
    await sender.login(await sender.register(`${run.name} sender ${at}`));
    await recipient.login(await recipient.register(`${run.name} recipient ${at}`));
    return new Pair(sender, recipient, run);
  });
  for (const pair of pairs) for (let at = 0; at < plan.window; at++) pair.send();
  await pause(WARM_UP);

  const ackTimes: number[] = run.ackTimes = [];
  const deliveryTimes: number[] = run.deliveryTimes = [];
  const [start, meter, ackedBefore] = [performance.now(), new CpuMeter(plan.pids), run.acked];
  await pause(plan.seconds * 1_000);
  const [took, acked] = [performance.now() - start, run.acked - ackedBefore];
  const cost = meter.perMillion(acked);
  run.ackTimes = run.deliveryTimes = undefined;

  run.going = false;
  const allIn = () => run.acked + run.refused === run.sent && run.delivered >= run.acked;
  await until(() => run.failure !== undefined || allIn(), "the last messages", DRAIN).catch(() => {});
  for (const pair of pairs) await pair.close();
  if (run.failure !== undefined) throw new Error(run.failure);

  return {
    sent: run.sent,
    acked: run.acked,
    refused: run.refused,
    delivered: run.delivered,
    lost: pairs.reduce((sum, pair) => sum + pair.missing, 0),
    doubled: run.doubled,
    outOfOrder: run.outOfOrder,
    messagesPerSecond: acked / took * 1_000,
    ackLatency: latency(ackTimes),
    deliveryLatency: latency(deliveryTimes),
    ...cost,
  };
}

/** Sorts times into their percentiles. */
export function latency(times: readonly number[]): Latency {
  const sorted = Float64Array.from(times).sort();
  const at = (part: number) => sorted[Math.min(sorted.length - 1, Math.floor(sorted.length * part))] ?? NaN;
  return { p50: at(0.5), p95: at(0.95), p99: at(0.99), max: at(1) };
}
