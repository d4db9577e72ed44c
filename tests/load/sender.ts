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

/** A sender that {@link begin} starts. */
export interface Paced {
  /** Whether each reply makes it send the next message. */
  isRefilling: boolean;
  /** Sends a message with its due time by performance.now. */
  send(due: number): void;
}

/** A sender to one conversation. Its owner passes it the messages of its connection. */
export class Sender implements Paced {
  /** The seqs of its acknowledged messages. */
  readonly acked: number[] = [];
  isRefilling = false;
  readonly #peer: Pick<Peer, "id" | "send">;
  readonly #run: Run;
  readonly #to: Sent & { readonly msgid: number };
  readonly #due: number[] = []; // by the number of the message, minus 1

  /** Makes a sender. `to` has the fields that all its messages share. */
  constructor(peer: Pick<Peer, "id" | "send">, run: Run, to: Sent & { readonly msgid: number }) {
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

  send(due: number): void {
    this.#transmit(this.#due.push(due));
    this.#run.didSend(due);
  }

  /** Counts the replies to its messages. */
  take({ of, errno, errmsg, seq, rid, retry_after }: Received): void {
    if (of !== this.#to.msgid) return;
    const run = this.#run;
    const number = Number(rid);
    if (errno === Errno.OK) {
      this.acked.push(seq!);
      run.didAck(this.#due[number - 1]!);
      if (this.isRefilling && run.isSending) this.send(performance.now());
      return;
    }
    run.refused++;
    if (retry_after === undefined) run.ended(`a message was refused with errno ${errno}: ${errmsg}`);
    else setTimeout(() => this.#retry(number), retry_after);
  }

  /** Sends a refused message again with its cid, as a client must. */
  #retry(number: number): void {
    if (!this.#run.isSending) return;
    // Without a fixed time, a message is due when it may be sent.
    if (this.isRefilling) this.#due[number - 1] = performance.now();
    this.#run.sent++;
    this.#transmit(number);
  }

  #transmit(number: number): void {
    const { name, text } = this.#run;
    this.#peer.send({ ...this.#to, msg: text, cid: `${name}-${number}`, rid: number });
  }
}

/** Starts all senders, and returns the function that stops them. */
export function begin(senders: readonly Paced[], { window, rate }: Pace, run: Run): () => void {
  const start = performance.now();
  run.isSending = true;
  if (rate !== undefined) {
    const every = MS_PER_SECOND * senders.length / rate;
    const schedules = senders.map((sender, at) =>
      new Schedule(start + every * at / senders.length, every, (due) => sender.send(due))
    );
    return () => {
      run.isSending = false;
      for (const schedule of schedules) schedule.stop();
    };
  }
  for (const sender of senders) {
    sender.isRefilling = true;
    for (let at = 0; at < window; at++) sender.send(performance.now());
  }
  return () => run.isSending = false;
}
