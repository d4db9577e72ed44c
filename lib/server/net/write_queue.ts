/** What waits to be written to one connection. */
import { giveBuffer, takeBuffer } from "../../wire/buffers.ts";

/** Frames on their way out. How they are cut into writes is each implementation's idea. */
export interface Outbox {
  /** Bytes that the socket has not taken yet, with what it takes to keep them. */
  readonly bytes: number;
  /** Bytes that the socket has taken. */
  readonly taken: number;
  /** When the socket last took some, by `performance.now`. */
  readonly lastTaken: number;
  /**
   * Queues a frame; `taken` is called when the socket has it whole. After {@link Outbox.close} it does
   * nothing.
   */
  push(frame: Uint8Array, taken?: () => void): void;
  /** Resolves when at most `bytes` wait, or the outbox is closed. */
  whenAtMost(bytes: number): Promise<void>;
  /** Drops what waits. */
  close(): void;
}

/** What an outbox is given to do its work. */
export interface Sink {
  /** Writes some of the bytes and says how many. */
  write(bytes: Uint8Array): Promise<number>;
  /** Called when the socket has taken bytes and fewer than half of the limit wait. */
  room(): void;
  /** Called when writing failed; the connection is lost. */
  failed(error: unknown): void;
  /** Bytes: below half of it there is room again. */
  readonly limit: number;
}

/**
 * Bytes of memory that a waiting frame takes besides its own, roughly: small ones cost most of what they cost
 * by this.
 */
export const KEEPING = 128;

interface Entry {
  readonly frame: Uint8Array;
  readonly taken: (() => void) | undefined;
}

/**
 * The part that all outboxes share: the queue, its count, those who wait for it to shrink, and the write
 * loop.
 */
abstract class QueueOutbox implements Outbox {
  readonly #sink: Sink;
  #queue: Entry[] = [];
  #head = 0; // of #queue: shifting a long array would cost its length each time
  #bytes = 0;
  #writing = false;
  #closed = false;
  #waiting: { readonly bytes: number; readonly resolve: () => void }[] = [];
  #told: (() => void)[] | undefined; // when what is being written has been
  taken = 0;
  lastTaken: number;

  constructor(sink: Sink) {
    this.#sink = sink;
    this.lastTaken = performance.now();
  }

  get bytes(): number {
    return this.#bytes + (this.#queue.length - this.#head) * KEEPING;
  }

  push(frame: Uint8Array, taken?: () => void): void {
    if (this.#closed) return;
    if (this.#bytes === 0) this.lastTaken = performance.now(); // what stalls, stalls from here
    this.#queue.push({ frame, taken });
    this.#bytes += frame.length;
    if (!this.#writing) this.#write();
  }

  whenAtMost(bytes: number): Promise<void> {
    if (this.#closed || this.bytes <= bytes) return Promise.resolve();
    return new Promise((resolve) => this.#waiting.push({ bytes, resolve }));
  }

  close(): void {
    this.#closed = true;
    this.#queue = [];
    this.#head = 0;
    this.#bytes = 0;
    this.#told = undefined;
    this.#tell();
  }

  /** Milliseconds until the next write may be begun. */
  protected abstract pause(): number;

  /** Takes what the next write is to write off the queue, in which there is a frame at least. */
  protected abstract gather(): Uint8Array;

  /** What was gathered has been written whole, or never will be. */
  protected abstract release(): void;

  /** The next frame's bytes, without taking it. */
  protected peek(): Uint8Array | undefined {
    return this.#queue[this.#head]?.frame;
  }

  /** The next frame. Its sender is told when what it was gathered into has been written. */
  protected take(): Uint8Array {
    const { frame, taken } = this.#queue[this.#head++]!;
    if (this.#head === this.#queue.length) {
      this.#queue = [];
      this.#head = 0;
    }
    if (taken) (this.#told ??= []).push(taken);
    return frame;
  }

  async #write(): Promise<void> {
    this.#writing = true;
    await undefined; // what one commit answers comes all at once
    try {
      while (this.#queue.length > 0) {
        for (let early; (early = this.pause()) > 0;) { // timers may come early
          await new Promise((resolve) => setTimeout(resolve, Math.ceil(early)));
        }
        if (this.#closed) break;
        const bytes = this.gather();
        for (let at = 0; at < bytes.length && !this.#closed;) {
          const written = await this.#sink.write(at === 0 ? bytes : bytes.subarray(at));
          at += written;
          if (!this.#closed) this.#took(written);
        }
        this.release();
        if (this.#closed) break;
        const told = this.#told;
        this.#told = undefined;
        if (told) { for (const call of told) call(); }
        if (this.#waiting.length > 0) this.#tell();
        if (this.bytes < this.#sink.limit / 2) this.#sink.room();
      }
    } catch (error) {
      if (!this.#closed) this.#sink.failed(error);
    } finally {
      this.#writing = false;
    }
  }

  #took(written: number): void {
    this.#bytes -= written;
    this.taken += written;
    this.lastTaken = performance.now();
  }

  #tell(): void {
    const ready = this.#waiting.filter((one) => this.#closed || this.bytes <= one.bytes);
    if (ready.length === 0) return;
    this.#waiting = this.#waiting.filter((one) => !ready.includes(one));
    for (const { resolve } of ready) resolve();
  }
}

const GATHER = 65_536; // bytes: one write of this size costs the kernel little more than one of a few

/**
 * A frame that finds the socket idle is written at once, with those that come in the same moment; what
 * gathers while the socket is busy goes out in one write.
 */
export class GatheringOutbox extends QueueOutbox {
  #buffer: Uint8Array | undefined; // while it is being written

  protected override pause(): number {
    return 0;
  }

  protected override gather(): Uint8Array {
    const first = this.take();
    let size = first.length;
    if (size + (this.peek()?.length ?? GATHER) > GATHER) return first;
    const buffer = this.#buffer = takeBuffer(GATHER);
    buffer.set(first);
    for (let next; (next = this.peek()) && size + next.length <= GATHER;) {
      buffer.set(this.take(), size);
      size += next.length;
    }
    return buffer.subarray(0, size);
  }

  protected override release(): void {
    if (this.#buffer) giveBuffer(this.#buffer);
    this.#buffer = undefined;
  }
}

/**
 * One frame per write, and at least `gap` ms between two writes: classic clients take what one read gives
 * them for exactly one message.
 */
export class PacedOutbox extends QueueOutbox {
  readonly #gap: number;
  #last = -Infinity;

  constructor(sink: Sink, gap: number) {
    super(sink);
    this.#gap = gap;
  }

  protected override pause(): number {
    return this.#last + this.#gap - performance.now();
  }

  protected override gather(): Uint8Array {
    return this.take();
  }

  protected override release(): void {
    this.#last = performance.now();
  }
}
