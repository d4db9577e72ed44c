/** What all users of a run share: its name, its counts, and the part of it that is measured. */
import { pause } from "../harness/wait.ts";
import { type Costs, CpuMeter } from "./cpu.ts";
import { type Latency, latency } from "./latency.ts";

/** Milliseconds before the measured part, in which both sides' code gets compiled. */
const WARM_UP_MS = 1_000;

/** Milliseconds in which nothing has come, after which what is missing counts as lost. */
const IDLE_TIMEOUT_MS = 10_000;

const POLL_INTERVAL_MS = 10; // milliseconds between two looks at what has come

/** The part of a run that is measured. */
export interface Part {
  readonly seconds: number;
  /** Acknowledged in it. */
  readonly acked: number;
  /** Deliveries in it. */
  readonly arrived: number;
  /** Of so many of them as are counted. */
  readonly costs: (count: number) => Costs;
}

/** The times of the messages that were due in the measured part. */
class Times {
  readonly ack: number[] = [];
  readonly delivery: number[] = [];
  readonly late: number[] = [];
  readonly from: number;
  until = Infinity;

  constructor(from: number) {
    this.from = from;
  }

  has(due: number): boolean {
    return due >= this.from && due < this.until;
  }
}

/** One run. */
export class Run {
  readonly name: string = crypto.randomUUID().slice(0, 8);
  readonly text: string;
  /** Whether an answer lets its sender send the next message. */
  isRefilling = false;
  sent = 0;
  acked = 0;
  /** Acknowledged with another errno than 0. */
  refused = 0;
  /** Deliveries, whether they are the right ones or not. */
  arrived = 0;
  failure: string | undefined;
  #times: Times | undefined;

  /** `size` is the characters of each message. */
  constructor(size: number) {
    this.text = "x".repeat(size);
  }

  /** Whether every message has its answer. */
  get isAnswered(): boolean {
    return this.acked + this.refused === this.sent;
  }

  /** A connection has ended that was needed. */
  ended(why: string): void {
    this.failure ??= why;
    this.isRefilling = false;
  }

  /** A message was sent that was due then. */
  didSend(due: number): void {
    this.sent++;
    if (this.#times?.has(due)) this.#times.late.push(performance.now() - due);
  }

  /** A message was acknowledged that was due then. */
  didAck(due: number): void {
    this.acked++;
    if (this.#times?.has(due)) this.#times.ack.push(performance.now() - due);
  }

  /** A message has come that was due then. */
  didArrive(due: number): void {
    this.arrived++;
    if (this.#times?.has(due)) this.#times.delivery.push(performance.now() - due);
  }

  /** Waits a moment and then measures for some seconds. */
  async measure(seconds: number, pids: readonly number[]): Promise<Part> {
    await pause(WARM_UP_MS);
    const meter = new CpuMeter(pids);
    const times = this.#times = new Times(performance.now());
    const [acked, arrived] = [this.acked, this.arrived];
    await pause(seconds * 1_000);
    const until = times.until = performance.now();
    const part = {
      seconds: (until - times.from) / 1_000,
      acked: this.acked - acked,
      arrived: this.arrived - arrived,
    };
    return { ...part, costs: meter.stop() };
  }

  /** Resolves when `isDone`, or when nothing has come for a while. Throws when a connection has ended. */
  async settle(isDone: () => boolean): Promise<void> {
    const count = () => this.acked + this.refused + this.arrived;
    for (
      let [last, since] = [count(), performance.now()];
      !isDone() && performance.now() - since < IDLE_TIMEOUT_MS;
    ) {
      if (this.failure !== undefined) break;
      await pause(POLL_INTERVAL_MS);
      if (count() !== last) [last, since] = [count(), performance.now()];
    }
    if (this.failure !== undefined) throw new Error(this.failure);
  }

  /** From when a message was due to its acknowledgement. */
  get ackLatency(): Latency {
    return latency(this.#times?.ack ?? []);
  }

  /** From when a message was due to each delivery. */
  get deliveryLatency(): Latency {
    return latency(this.#times?.delivery ?? []);
  }

  /** From when a message was due to when this program sent it. */
  get lateness(): Latency {
    return latency(this.#times?.late ?? []);
  }
}
