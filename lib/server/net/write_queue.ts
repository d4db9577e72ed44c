/** The frames that wait to be written to one connection. */
import { sleep } from "../../sleep.ts";
import { acquireBuffer, releaseBuffer } from "../../wire/buffers.ts";
import { Waiters } from "./waiters.ts";

/** Frames on their way out. Each implementation cuts them into writes in its own way. */
export interface WriteQueue {
  /** Bytes that the socket has not taken yet, with an overhead for each frame. */
  readonly bufferedAmount: number;
  /** Bytes that the socket has taken. */
  readonly bytesWritten: number;
  /** When the socket last took bytes, by `performance.now`. */
  readonly lastWriteAt: number;
  /**
   * Queues a frame. `onWritten` is called when the socket has taken all of it. Does nothing after
   * {@link WriteQueue.close}.
   */
  push(frame: Uint8Array, onWritten?: () => void): void;
  /** Whether at most `bytes` are buffered, or the queue is closed. */
  isAtMost(bytes: number): boolean;
  /** Resolves when {@link WriteQueue.isAtMost} is true. */
  untilAtMost(bytes: number): Promise<void>;
  /** Drops all frames. */
  close(): void;
}

/** The socket of a write queue. */
export interface Sink {
  /** Writes some of the bytes and returns how many. */
  write(bytes: Uint8Array): Promise<number>;
  /** Called when the socket has taken bytes and less than half of `highWaterMark` is buffered. */
  onDrain(): void;
  /** Called when a write failed; the connection is lost. */
  onError(error: unknown): void;
  /** Buffered bytes at which the connection stops being writable. */
  readonly highWaterMark: number;
}

/** Bytes of memory for each frame besides its own, roughly: for small frames this is most of their cost. */
export const ENTRY_OVERHEAD_BYTES = 128;

/**
 * Buffered bytes beyond which a frame that is a slice of a larger buffer is copied: a waiting slice keeps all
 * of that buffer alive. Below it, a client that does not read keeps at most some 50 slabs of 4 KiB.
 */
const MAX_SHARED_BYTES = 8_192;

interface Entry {
  readonly frame: Uint8Array;
  readonly onWritten: (() => void) | undefined;
}

/** The part that all write queues share: the frames, their count, the waiters and the write loop. */
abstract class BaseWriteQueue implements WriteQueue {
  readonly #sink: Sink;
  #queue: Entry[] = [];
  #head = 0; // of #queue: shifting a long array would cost its length each time
  #queuedBytes = 0;
  #isWriting = false;
  #isClosed = false;
  readonly #waiters = new Waiters();
  #callbacks: (() => void)[] | undefined; // of the frames that are being written
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
    if (this.#queuedBytes === 0) this.lastWriteAt = performance.now(); // a stall begins here
    const isSlice = frame.length < frame.buffer.byteLength;
    const own = isSlice && this.bufferedAmount > MAX_SHARED_BYTES ? frame.slice() : frame;
    this.#queue.push({ frame: own, onWritten });
    this.#queuedBytes += frame.length;
    if (!this.#isWriting) this.#write();
  }

  isAtMost(bytes: number): boolean {
    return this.#isClosed || this.bufferedAmount <= bytes;
  }

  untilAtMost(bytes: number): Promise<void> {
    return this.#waiters.until(() => this.isAtMost(bytes));
  }

  close(): void {
    this.#isClosed = true;
    this.#queue = [];
    this.#head = 0;
    this.#queuedBytes = 0;
    this.#callbacks = undefined;
    this.#waiters.notify();
  }

  /** Returns the milliseconds until the next write may start. */
  protected abstract writeDelayMs(): number;

  /** Takes the bytes of the next write off the queue, which holds at least one frame. */
  protected abstract nextWrite(): Uint8Array;

  /** Called when the bytes of the last write are not in use any more. */
  protected abstract release(): void;

  /** Returns the next frame, and leaves it in the queue. */
  protected peek(): Uint8Array | undefined {
    return this.#queue[this.#head]?.frame;
  }

  /** Takes the next frame off the queue. Its `onWritten` is called after the write that it becomes part of. */
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
    await undefined; // the replies to one commit come in the same microtask run
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
        this.#waiters.notify();
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
}

const MAX_WRITE_BYTES = 65_536; // one write of this size costs the kernel little more than one of a few bytes

/** Writes frames at once while the socket is idle. Those that come while it is busy share one write. */
export class CoalescingWriteQueue extends BaseWriteQueue {
  #buffer: Uint8Array | undefined; // the last write, if it is of several frames

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

/** Writes one frame at a time, at an interval: classic clients take the bytes of one read for one message. */
export class PacedWriteQueue extends BaseWriteQueue {
  readonly #intervalMs: number;
  #lastWriteEnd = -Infinity;

  /** At least `intervalMs` milliseconds lie between two writes. */
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
