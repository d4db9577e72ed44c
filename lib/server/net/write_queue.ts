/** What waits to be written to one connection. */
import { sleep } from "../../sleep.ts";
import { acquireBuffer, releaseBuffer } from "../../wire/buffers.ts";

/** Frames on their way out. How they are cut into writes is each implementation's idea. */
export interface WriteQueue {
  /** Bytes that the socket has not taken yet, with what it takes to keep them. */
  readonly bufferedAmount: number;
  /** Bytes that the socket has taken. */
  readonly bytesWritten: number;
  /** When the socket last took some, by `performance.now`. */
  readonly lastWriteAt: number;
  /**
   * Queues a frame; `taken` is called when the socket has it whole. After {@link WriteQueue.close} it does
   * nothing.
   */
  push(frame: Uint8Array, onWritten?: () => void): void;
  /** Resolves when at most `bytes` wait, or the outbox is closed. */
  untilAtMost(bytes: number): Promise<void>;
  /** Drops what waits. */
  close(): void;
}

/** What an outbox is given to do its work. */
export interface Sink {
  /** Writes some of the bytes and says how many. */
  write(bytes: Uint8Array): Promise<number>;
  /** Called when the socket has taken bytes and fewer than half of the limit wait. */
  onDrain(): void;
  /** Called when writing failed; the connection is lost. */
  onError(error: unknown): void;
  /** Bytes: below half of it there is room again. */
  readonly highWaterMark: number;
}

/**
 * Bytes of memory that a waiting frame takes besides its own, roughly: small ones cost most of what they cost
 * by this.
 */
export const ENTRY_OVERHEAD_BYTES = 128;

interface Entry {
  readonly frame: Uint8Array;
  readonly onWritten: (() => void) | undefined;
}

/**
 * The part that all outboxes share: the queue, its count, those who wait for it to shrink, and the write
 * loop.
 */
abstract class BaseWriteQueue implements WriteQueue {
  readonly #sink: Sink;
  #queue: Entry[] = [];
  #head = 0; // of #queue: shifting a long array would cost its length each time
  #queuedBytes = 0;
  #isWriting = false;
  #isClosed = false;
  #waiters: { readonly bytes: number; readonly resolve: () => void }[] = [];
  #callbacks: (() => void)[] | undefined; // when what is being written has been
  bytesWritten = 0;
  lastWriteAt: number;

  constructor(sink: Sink) {
    this.#sink = sink;
    this.lastWriteAt = performance.now();
  }

  get bufferedAmount(): number {
    return this.#queuedBytes + (this.#queue.length - this.#head) * ENTRY_OVERHEAD_BYTES;
  }

  push(frame: Uint8Array, onWritten?: () => void): void {
    if (this.#isClosed) return;
    if (this.#queuedBytes === 0) this.lastWriteAt = performance.now(); // what stalls, stalls from here
    this.#queue.push({ frame, onWritten });
    this.#queuedBytes += frame.length;
    if (!this.#isWriting) this.#write();
  }

  untilAtMost(bytes: number): Promise<void> {
    if (this.#isClosed || this.bufferedAmount <= bytes) return Promise.resolve();
    return new Promise((resolve) => this.#waiters.push({ bytes, resolve }));
  }

  close(): void {
    this.#isClosed = true;
    this.#queue = [];
    this.#head = 0;
    this.#queuedBytes = 0;
    this.#callbacks = undefined;
    this.#notify();
  }

  /** Milliseconds until the next write may be begun. */
  protected abstract writeDelayMs(): number;

  /** Takes what the next write is to write off the queue, in which there is a frame at least. */
  protected abstract nextWrite(): Uint8Array;

  /** What was gathered has been written whole, or never will be. */
  protected abstract release(): void;

  /** The next frame's bytes, without taking it. */
  protected peek(): Uint8Array | undefined {
    return this.#queue[this.#head]?.frame;
  }

  /** The next frame. Its sender is told when what it was gathered into has been written. */
  protected shift(): Uint8Array {
    const { frame, onWritten } = this.#queue[this.#head++]!;
    if (this.#head === this.#queue.length) {
      this.#queue = [];
      this.#head = 0;
    }
    if (onWritten) (this.#callbacks ??= []).push(onWritten);
    return frame;
  }

  async #write(): Promise<void> {
    this.#isWriting = true;
    await undefined; // what one commit answers comes all at once
    try {
      while (this.#queue.length > 0) {
        for (let delayMs; (delayMs = this.writeDelayMs()) > 0;) { // timers may come early
          await sleep(Math.ceil(delayMs));
        }
        if (this.#isClosed) break;
        const bytes = this.nextWrite();
        for (let at = 0; at < bytes.length && !this.#isClosed;) {
          const written = await this.#sink.write(at === 0 ? bytes : bytes.subarray(at));
          at += written;
          if (!this.#isClosed) this.#onWritten(written);
        }
        this.release();
        if (this.#isClosed) break;
        const callbacks = this.#callbacks;
        this.#callbacks = undefined;
        if (callbacks) { for (const callback of callbacks) callback(); }
        if (this.#waiters.length > 0) this.#notify();
        if (this.bufferedAmount < this.#sink.highWaterMark / 2) this.#sink.onDrain();
      }
    } catch (error) {
      if (!this.#isClosed) this.#sink.onError(error);
    } finally {
      this.#isWriting = false;
    }
  }

  #onWritten(written: number): void {
    this.#queuedBytes -= written;
    this.bytesWritten += written;
    this.lastWriteAt = performance.now();
  }

  #notify(): void {
    const ready = this.#waiters.filter((one) => this.#isClosed || this.bufferedAmount <= one.bytes);
    if (ready.length === 0) return;
    this.#waiters = this.#waiters.filter((one) => !ready.includes(one));
    for (const { resolve } of ready) resolve();
  }
}

const MAX_WRITE_BYTES = 65_536; // bytes: one write of this size costs the kernel little more than one of a few

/**
 * A frame that finds the socket idle is written at once, with those that come in the same moment; what
 * gathers while the socket is busy goes out in one write.
 */
export class CoalescingWriteQueue extends BaseWriteQueue {
  #buffer: Uint8Array | undefined; // while it is being written

  protected override writeDelayMs(): number {
    return 0;
  }

  protected override nextWrite(): Uint8Array {
    const first = this.shift();
    let size = first.length;
    if (size + (this.peek()?.length ?? MAX_WRITE_BYTES) > MAX_WRITE_BYTES) return first;
    const buffer = this.#buffer = acquireBuffer(MAX_WRITE_BYTES);
    buffer.set(first);
    for (let next; (next = this.peek()) && size + next.length <= MAX_WRITE_BYTES;) {
      buffer.set(this.shift(), size);
      size += next.length;
    }
    return buffer.subarray(0, size);
  }

  protected override release(): void {
    if (this.#buffer) releaseBuffer(this.#buffer);
    this.#buffer = undefined;
  }
}

/**
 * One frame per write, and at least `gap` ms between two writes: classic clients take what one read gives
 * them for exactly one message.
 */
export class PacedWriteQueue extends BaseWriteQueue {
  readonly #intervalMs: number;
  #lastWriteEnd = -Infinity;

  constructor(sink: Sink, intervalMs: number) {
    super(sink);
    this.#intervalMs = intervalMs;
  }

  protected override writeDelayMs(): number {
    return this.#lastWriteEnd + this.#intervalMs - performance.now();
  }

  protected override nextWrite(): Uint8Array {
    return this.shift();
  }

  protected override release(): void {
    this.#lastWriteEnd = performance.now();
  }
}
