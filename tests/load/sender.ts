/** Senders, either with a window of messages in flight or at fixed times. */
import { Errno, type Received, type Sent } from "../harness/protocol_numbers.ts";
import type { Peer } from "./peer.ts";
import type { Run } from "./run.ts";
import { Schedule } from "./schedule.ts";

const MS_PER_SECOND = 1_000; // milliseconds

/** The pace of the senders. */
export interface Pace {
  /** Messages in flight of each sender. */
  readonly window: number;
  /** Messages per second of all senders together; undefined when the window sets the pace. */
  readonly rate: number | undefined;
}

/** A sender to one conversation. Its owner passes it the messages of its connection. */
export class Sender {
  /** The seqs of its acknowledged messages. */
  readonly acked: number[] = [];
  readonly #peer: Peer;
  readonly #run: Run;
  readonly #to: Sent & { readonly msgid: number };
  readonly #due: number[] = []; // by the number of the message, minus 1

  /** Makes a sender. `to` has the fields that all its messages share. */
  constructor(peer: Peer, run: Run, to: Sent & { readonly msgid: number }) {
    this.#peer = peer;
    this.#run = run;
    this.#to = to;
  }

  get id(): number {
    return this.#peer.id;
  }

  /** Returns the due time of the message with this cid. */
  dueAt(cid: string): number {
    return this.#due[Number(cid.slice(this.#run.name.length + 1)) - 1]!;
  }

  /** Sends a message with its due time by performance.now. */
  send(due: number): void {
    const run = this.#run;
    const number = this.#due.push(due);
    this.#peer.send({ ...this.#to, msg: run.text, cid: `${run.name}-${number}`, rid: number });
    run.didSend(due);
  }

  /** Counts the replies to its messages. */
  take({ of, errno, seq, rid }: Received): void {
    if (of !== this.#to.msgid) return;
    const run = this.#run;
    if (errno === Errno.OK) {
      this.acked.push(seq!);
      run.didAck(this.#due[Number(rid) - 1]!);
    } else run.refused++;
    if (run.isRefilling) this.send(performance.now());
  }
}

/** Starts all senders, and returns the function that stops them. */
export function begin(senders: readonly Sender[], { window, rate }: Pace, run: Run): () => void {
  const start = performance.now();
  if (rate !== undefined) {
    const every = MS_PER_SECOND * senders.length / rate;
    const schedules = senders.map((sender, at) =>
      new Schedule(start + every * at / senders.length, every, (due) => sender.send(due))
    );
    return () => schedules.forEach((schedule) => schedule.stop());
  }
  run.isRefilling = true;
  for (const sender of senders) for (let at = 0; at < window; at++) sender.send(performance.now());
  return () => run.isRefilling = false;
}
