/** The state that all users of a run share: its name, its counts and its measured part. */
import { pause } from "../harness/wait.ts";
import { type Costs, CpuMeter } from "./cpu.ts";
import { type Latency, latency } from "./latency.ts";

/** Milliseconds before the measured part, in which the code of both programs is compiled. */
const WARM_UP_MS = 1_000;

/** Milliseconds without a message, after which missing messages count as lost. */
const IDLE_TIMEOUT_MS = 10_000;

const POLL_INTERVAL_MS = 10; // milliseconds between two checks for the end

/** The measured part of a run. */
export interface Part {
  readonly seconds: number;
  /** Messages acknowledged in the measured part. */
  readonly acked: number;
  /** Deliveries in the measured part. */
  readonly arrived: number;
  /** Refused attempts in the measured part. */
  readonly refused: number;
  /** Returns the costs for a number of messages. */
  readonly costs: (count: number) => Costs;
}

/** Latencies of the messages that were due in the measured part. */
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

/** A run of the load program. */
export class Run {
  readonly name: string = crypto.randomUUID().slice(0, 8);
  readonly text: string;
  /** Whether the senders send. */
  isSending = false;
  /** Attempts, each of which is acknowledged or refused. */
  sent = 0;
  acked = 0;
  refused = 0;
  /** Deliveries, correct or not. */
  arrived = 0;
  failure: string | undefined;
  #times: Times | undefined;

  /** Makes a run with messages of `size` characters. */
  constructor(size: number) {
    this.text = "x".repeat(size);
  }

  /** Whether every attempt has a reply. */
  get isAnswered(): boolean {
    return this.acked + this.refused === this.sent;
  }

  /** Records that a connection of the run has ended. */
  ended(reason: string): void {
    this.failure ??= reason;
    this.isSending = false;
  }

  /** Records the sending of a message by its due time. */
  didSend(due: number): void {
    this.sent++;
    if (this.#times?.has(due)) this.#times.late.push(performance.now() - due);
  }

  /** Records an acknowledgement by the due time of its message. */
  didAck(due: number): void {
    this.acked++;
    if (this.#times?.has(due)) this.#times.ack.push(performance.now() - due);
  }

  /** Records a delivery by the due time of its message. */
  didArrive(due: number): void {
    this.arrived++;
    if (this.#times?.has(due)) this.#times.delivery.push(performance.now() - due);
  }

  /** Waits for the warm-up and then measures for some seconds. */
  async measure(seconds: number, pids: readonly number[]): Promise<Part> {
    await pause(WARM_UP_MS);
    const meter = new CpuMeter(pids);
    const times = this.#times = new Times(performance.now());
    const [acked, arrived, refused] = [this.acked, this.arrived, this.refused];
    await pause(seconds * 1_000);
    const until = times.until = performance.now();
    const part = {
      seconds: (until - times.from) / 1_000,
      acked: this.acked - acked,
      arrived: this.arrived - arrived,
      refused: this.refused - refused,
    };
    return { ...part, costs: meter.stop() };
  }

  /**
   * Resolves when `isDone` returns true, or after a time without messages. Throws when a connection has
   * ended.
   */
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

  /** From the due time of a message to its acknowledgement. */
  get ackLatency(): Latency {
    return latency(this.#times?.ack ?? []);
  }

  /** From the due time of a message to each delivery. */
  get deliveryLatency(): Latency {
    return latency(this.#times?.delivery ?? []);
  }

  /** From the due time of a message until this program sent it. */
  get lateness(): Latency {
    return latency(this.#times?.late ?? []);
  }
}
