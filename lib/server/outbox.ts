/** What waits to be written to one connection. */

/** Frames on their way out. How they are cut into writes is each implementation's idea. */
export interface Outbox {
  /** Bytes that the socket has not taken yet, with what it takes to keep them. */
  readonly bytes: number;
  /** Bytes that the socket has taken. */
  readonly taken: number;
  /** When the socket last took some, by `performance.now`. */
  readonly lastTaken: number;
  /** Queues a frame; `taken` is called when the socket has it whole. After {@link Outbox.close} it does nothing. */
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

/** Bytes of memory that a waiting frame takes besides its own, roughly: small ones cost most of what they cost by this. */
export const KEEPING = 128;

interface Entry {
  readonly frame: Uint8Array;
  readonly taken: (() => void) | undefined;
}

/** The part that all outboxes share: the queue, its count, those who wait for it to shrink, and the write loop. */
abstract class QueueOutbox implements Outbox {
  protected readonly sink: Sink;
  #queue: Entry[] = [];
  #head = 0; // of #queue: shifting a long array would cost its length each time
  #bytes = 0;
  #writing = false;
  #closed = false;
  #waiting: { readonly bytes: number; readonly resolve: () => void }[] = [];
  taken = 0;
  lastTaken: number;

  constructor(sink: Sink) {
    this.sink = sink;
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
    this.#tell();
  }

  /** Takes frames off the queue with {@link QueueOutbox.take} and writes them, once. Only called when there are some. */
  protected abstract flush(): Promise<void>;

  /** The next frame's bytes, without taking it. */
  protected peek(): Uint8Array | undefined {
    return this.#queue[this.#head]?.frame;
  }

  protected take(): Entry {
    const entry = this.#queue[this.#head++]!;
    if (this.#head === this.#queue.length) {
      this.#queue = [];
      this.#head = 0;
    }
    return entry;
  }

  /** Writes all of the bytes, however little the socket takes at a time. False if it was closed before the end. */
  protected async writeAll(bytes: Uint8Array): Promise<boolean> {
    for (let at = 0; at < bytes.length && !this.#closed;) {
      const written = await this.sink.write(at === 0 ? bytes : bytes.subarray(at));
      at += written;
      if (this.#closed) break;
      this.#bytes -= written;
      this.taken += written;
      this.lastTaken = performance.now();
    }
    return !this.#closed;
  }

  async #write(): Promise<void> {
    this.#writing = true;
    await undefined; // what one commit answers comes all at once
    try {
      while (this.#queue.length > 0) {
        await this.flush();
        if (this.#waiting.length > 0) this.#tell();
        if (!this.#closed && this.bytes < this.sink.limit / 2) this.sink.room();
      }
    } catch (error) {
      if (!this.#closed) this.sink.failed(error);
    } finally {
      this.#writing = false;
    }
  }

  #tell(): void {
    const ready = this.#waiting.filter((one) => this.#closed || this.bytes <= one.bytes);
    if (ready.length === 0) return;
    this.#waiting = this.#waiting.filter((one) => !ready.includes(one));
    for (const { resolve } of ready) resolve();
  }
}

const GATHER = 65_536; // bytes: one write of this size costs the kernel little more than one of a few
const KEPT = 64; // gather buffers kept for the next flush that needs one
const buffers: Uint8Array[] = [];

/**
 * A frame that finds the socket idle is written at once and alone, so nothing waits for company; what gathers while
 * the socket is busy goes out in one write.
 */
export class GatheringOutbox extends QueueOutbox {
  protected override async flush(): Promise<void> {
    const first = this.take();
    const second = this.peek();
    if (!second || first.frame.length + second.length > GATHER) {
      if (await this.writeAll(first.frame)) first.taken?.();
      return;
    }
    const buffer = buffers.pop() ?? new Uint8Array(GATHER);
    const taken: (() => void)[] = [];
    let size = 0;
    for (let entry = first;; entry = this.take()) {
      buffer.set(entry.frame, size);
      size += entry.frame.length;
      if (entry.taken) taken.push(entry.taken);
      const next = this.peek();
      if (!next || size + next.length > GATHER) break;
    }
    const whole = await this.writeAll(buffer.subarray(0, size));
    if (buffers.length < KEPT) buffers.push(buffer);
    if (whole) { for (const call of taken) call(); }
  }
}

/**
 * One frame per write, and at least `gap` ms between two writes: classic clients take what one read gives them for
 * exactly one message.
 */
export class PacedOutbox extends QueueOutbox {
  readonly #gap: number;
  #last = -Infinity;

  constructor(sink: Sink, gap: number) {
    super(sink);
    this.#gap = gap;
  }

  protected override async flush(): Promise<void> {
    for (let early; (early = this.#last + this.#gap - performance.now()) > 0;) { // timers may come early
      await new Promise((resolve) => setTimeout(resolve, Math.ceil(early)));
    }
    const entry = this.peek() && this.take(); // closed meanwhile: nothing is left
    if (!entry) return;
    const whole = await this.writeAll(entry.frame);
    this.#last = performance.now();
    if (whole) entry.taken?.();
  }
}
