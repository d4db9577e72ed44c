/**
 * One client's socket: bytes in, requests to a handler, replies and pushes out, within limits. Knows
 * framing and order; knows nothing of what the messages mean.
 */
import { CLASSIC_FIRST_BYTE, ClassicDecoder } from "../../wire/classic.ts";
import { type Decoder, WireError } from "../../wire/decoder.ts";
import { FramedDecoder } from "../../wire/framed.ts";
import type {
  ConnectionContext,
  Handler,
  PreparedRequest,
  ProxyHeaderReader,
  Socket,
} from "./connection_context.ts";
import type { Dialect, ServerMessage } from "../protocol/dialect.ts";
import type { Sink, WriteQueue } from "./write_queue.ts";
import { ReadThrottle } from "./read_throttle.ts";
import { ReadAhead } from "./read_ahead.ts";
import { DISCARD_BUFFER, ReadBuffer } from "./read_buffer.ts";
import { ReplyQueue } from "./reply_queue.ts";

const MAX_IN_FLIGHT_BYTES = 262_144; // bytes of requests under way on a connection; beyond it nothing is read
const LINGER_MS = 1_000; // ms for the peer to close after the last words, before its socket is closed
// taken from a client after its connection's end, so that it can read our last words
const MAX_DISCARDED_BYTES = 262_144;
const LARGE_BODY_BYTES = 16_384; // bytes of a body: reading it is heavy work
// bytes of a large answer that are put together, copied and written in 1 ms, roughly
const REPLY_BYTES_PER_MS = 100_000;
const CLOCK_CHECK_EVERY = 16; // requests between two looks at the clock
// ms of work for one connection, then the others have a turn, so that no flood makes others wait
const TIME_SLICE_MS = 2;

/** A client's connection, from its acceptance to its end. */
export class Connection implements Sink {
  readonly #socket: Socket;
  readonly #context: ConnectionContext;
  readonly #handler: Handler;
  readonly #throttle: ReadThrottle;
  readonly #replies = new ReplyQueue<ServerMessage>((reply) => this.#reply(reply));
  #proxyHeader: ProxyHeaderReader | undefined; // until it has been read
  #readAhead: ReadAhead | undefined; // while the end is watched for
  #dialect: Dialect | undefined; // known from the first byte on
  #writeQueue: WriteQueue | undefined;
  #state: "open" | "ending" | "closed" = "open";
  #closing: Promise<void> | undefined;
  #lingerTimer: ReturnType<typeof setTimeout> | undefined;
  #bytesWrittenAtLastRead = 0; // bytes
  #requestsStarted = 0;
  /** When bytes last came, by `performance.now`. */
  lastReadAt: number;

  constructor(
    socket: Socket,
    context: ConnectionContext,
    handler: (connection: Connection) => Handler,
    proxyHeader?: ProxyHeaderReader,
  ) {
    this.#socket = socket;
    this.#context = context;
    this.#throttle = new ReadThrottle(context.bulkQueue);
    this.#proxyHeader = proxyHeader;
    this.lastReadAt = performance.now();
    this.#handler = handler(this);
  }

  /** The dialect it speaks; undefined before its first byte. */
  get dialect(): Dialect | undefined {
    return this.#dialect;
  }

  /** Whether requests are still taken from it. */
  get isOpen(): boolean {
    return this.#state === "open";
  }

  /** How many requests have been begun. */
  get requestsStarted(): number {
    return this.#requestsStarted;
  }

  /** Whether nothing is read for a while. */
  get isPaused(): boolean {
    return this.#throttle.isPaused;
  }

  /** Requests that have no reply yet. */
  get inFlight(): number {
    return this.#replies.inFlight;
  }

  /** Bytes that wait for the client to read. */
  get bufferedAmount(): number {
    return this.#writeQueue?.bufferedAmount ?? 0;
  }

  /** When the socket last took bytes that waited, by `performance.now`. */
  get lastWriteAt(): number {
    return this.#writeQueue?.lastWriteAt ?? 0;
  }

  /** Bytes that the socket took after the client was last heard: it may not have read as far. */
  get bytesSinceLastRead(): number {
    return (this.#writeQueue?.bytesWritten ?? 0) - this.#bytesWrittenAtLastRead;
  }

  /** Whether what isn't a reply may be sent now, or should wait until the client has read more. */
  get isWritable(): boolean {
    return this.bufferedAmount < this.#context.writeBufferBytes;
  }

  // What its outbox needs of it. As methods: closures for it are hundreds of bytes for each connection.

  get highWaterMark(): number {
    return this.#context.writeBufferBytes;
  }

  write(bytes: Uint8Array): Promise<number> {
    return this.#socket.write(bytes);
  }

  onDrain(): void {
    this.#handler.onDrain();
  }

  onError(): void {
    this.abort();
  }

  /**
   * Calls `left` when the client ends its sending, or the connection is lost, while an exclusive request is
   * being answered; to be called while one is. Bytes that the client sends meanwhile hide that.
   */
  watchForEnd(onEnd: () => void): void {
    this.#readAhead ??= new ReadAhead(this.#socket);
    this.#readAhead.onEnd(onEnd);
  }

  /** Sends a message, if the client's dialect has such a one. */
  send(message: ServerMessage, onWritten?: () => void): void {
    const bytes = this.#dialect?.encode(message);
    if (bytes) this.sendBytes(bytes, onWritten);
  }

  /** Sends a message that is encoded already; `taken` is called when the socket has it whole. */
  sendBytes(bytes: Uint8Array, onWritten?: () => void): void {
    this.#writeQueue?.push(bytes, onWritten);
  }

  #reply(reply: ServerMessage): void {
    const bytes = this.#dialect?.encode(reply);
    if (!bytes) return;
    this.#handler.onReply(bytes.length);
    if (bytes.length > LARGE_BODY_BYTES) this.#context.bulkQueue.charge(bytes.length / REPLY_BYTES_PER_MS);
    this.sendBytes(bytes);
  }

  /** Reads and answers until the connection has ended. Never rejects. */
  async run(): Promise<void> {
    const buffer = new ReadBuffer();
    let decoder: Decoder | undefined;
    try {
      let sliceUsedMs = 0; // ms since others had a turn
      let discarded = 0; // bytes that came after the end
      for (let startedAt = performance.now();;) {
        const read = await this.#read(this.isOpen ? buffer.bytes : DISCARD_BUFFER);
        if (read === null) break;
        if (!this.#handler.isAuthenticated || !this.isOpen) await this.#context.handshakeQueue.next();
        this.lastReadAt = performance.now();
        this.#bytesWrittenAtLastRead = this.#writeQueue?.bytesWritten ?? 0;
        if (this.lastReadAt - startedAt > TIME_SLICE_MS) sliceUsedMs = 0; // it had to wait, and others ran
        startedAt = this.lastReadAt;
        if (!this.isOpen) {
          discarded += read;
          if (discarded > MAX_DISCARDED_BYTES) break;
          continue;
        }
        const bytes = this.#stripProxyHeader(buffer.bytes.subarray(0, read));
        if (bytes.length === 0) continue;
        decoder ??= this.#detectDialect(bytes[0]!);
        decoder.push(bytes);
        let count = 0;
        for (let body; this.isOpen && (body = decoder.next()) !== undefined;) {
          count++;
          const size = body instanceof WireError ? 0 : body.length;
          if (size > LARGE_BODY_BYTES) startedAt = await this.#throttle.waitForQuantum();
          const request = this.#handler.prepare(body, startedAt);
          if (size > LARGE_BODY_BYTES) this.#context.bulkQueue.charge(performance.now() - startedAt);
          if (request.delayMs) startedAt = await this.#pause(request.delayMs);
          if (request.lowPriority) startedAt = await this.#throttle.waitForQuantum();
          if (!this.isOpen) break; // it ended meanwhile
          const ready = this.#execute(request, size);
          if (request.lowPriority) this.#context.bulkQueue.charge(performance.now() - startedAt);
          if (ready) await ready;
          if (body instanceof WireError && body.fatal) void this.end();
          if (request.pauseMs && this.isOpen) startedAt = await this.#pause(request.pauseMs);
          if (
            count % CLOCK_CHECK_EVERY === 0 && sliceUsedMs + performance.now() - startedAt > TIME_SLICE_MS
          ) {
            await this.#context.eventLoop.yieldToIo();
            sliceUsedMs = 0;
            startedAt = performance.now();
          }
        }
        const pauseMs = this.isOpen ? this.#handler.onRead(read, startedAt) : 0;
        if (pauseMs > 0) startedAt = await this.#pause(pauseMs);
        buffer.adapt(read);
        const now = performance.now();
        sliceUsedMs += now - startedAt;
        startedAt = now;
      }
    } catch {
      this.abort(); // the connection was lost, or closed by us while it read
    }
    await this.#context.handshakeQueue.next();
    buffer.release();
    decoder?.close();
    this.#handler.onEnd();
    await this.end(); // a client that only shut down its sending still gets its replies
    this.abort();
  }

  /**
   * Takes no more requests, waits for the replies under way, sends what waits and `last` behind it, and
   * closes. What isn't done or read after `within` ms is given up.
   */
  end(lastMessage?: ServerMessage, timeoutMs = this.#context.closeTimeoutMs): Promise<void> {
    if (this.isOpen) {
      this.#state = "ending";
      this.#throttle.resume();
      this.#closing = this.#end(lastMessage, timeoutMs);
    }
    return this.#closing ?? Promise.resolve();
  }

  /** Closes at once, whatever waits. */
  abort(): void {
    if (this.#state === "closed") return;
    this.#state = "closed";
    this.#throttle.resume();
    clearTimeout(this.#lingerTimer);
    this.#replies.close();
    this.#writeQueue?.close();
    try {
      this.#socket.close();
    } catch {
      // the runtime had closed it
    }
  }

  async #end(lastMessage: ServerMessage | undefined, timeoutMs: number): Promise<void> {
    let timer: ReturnType<typeof setTimeout> | undefined;
    const timeout = new Promise<void>((resolve) => timer = setTimeout(resolve, timeoutMs));
    const flushed = this.#replies.untilAtMost(0).then(() => {
      if (lastMessage) this.send(lastMessage);
      return this.#writeQueue?.untilAtMost(0);
    });
    await Promise.race([flushed, timeout]);
    clearTimeout(timer);
    if (this.#state === "closed") return;
    try {
      await this.#socket.closeWrite();
      // Closing with bytes unread would reset the connection and take our last words with it: `run` reads on.
      this.#lingerTimer = setTimeout(() => this.abort(), LINGER_MS);
    } catch {
      this.abort();
    }
  }

  /**
   * Reads nothing for a while; gives the time. What the client says meanwhile isn't read, so its silence is
   * no sign.
   */
  async #pause(ms: number): Promise<number> {
    return this.lastReadAt = await this.#throttle.pause(ms);
  }

  #read(into: Uint8Array): Promise<number | null> {
    const readAhead = this.#readAhead;
    this.#readAhead = undefined;
    return readAhead ? readAhead.read(into) : this.#socket.read(into);
  }

  #stripProxyHeader(bytes: Uint8Array): Uint8Array {
    if (!this.#proxyHeader) return bytes;
    const rest = this.#proxyHeader.stripHeader(bytes);
    if (rest) this.#proxyHeader = undefined;
    return rest ?? new Uint8Array(0);
  }

  #detectDialect(firstByte: number): Decoder {
    const isClassic = firstByte === CLASSIC_FIRST_BYTE;
    this.#dialect = this.#context.dialect(isClassic);
    this.#writeQueue = this.#dialect.createWriteQueue(this);
    return new (isClassic ? ClassicDecoder : FramedDecoder)(this.#context.maxFrameBytes);
  }

  /** Carries out a request of `size` bytes; a promise when the next one must wait. */
  #execute(request: PreparedRequest, size: number): Promise<void> | undefined {
    const { maxInFlight, writeBufferBytes } = this.#context;
    const isFull = this.inFlight >= maxInFlight || this.#replies.bytes > MAX_IN_FLIGHT_BYTES ||
      this.bufferedAmount > writeBufferBytes;
    if (request.exclusive || isFull) return this.#executeLater(request, size);
    this.#start(request, size);
    return undefined;
  }

  async #executeLater(request: PreparedRequest, size: number): Promise<void> {
    const { maxInFlight, writeBufferBytes } = this.#context;
    await this.#writeQueue?.untilAtMost(writeBufferBytes);
    await this.#replies.untilAtMost(request.exclusive ? 0 : maxInFlight - 1, MAX_IN_FLIGHT_BYTES);
    if (this.isOpen) {
      this.#start(request, size);
      if (request.exclusive) await this.#replies.untilAtMost(0);
    }
  }

  #start(request: PreparedRequest, size: number): void {
    this.#requestsStarted++;
    const reply = request.execute();
    if (request.lowPriority && reply instanceof Promise) {
      void this.#context.bulkQueue.track(reply, 1 + Math.floor(size / LARGE_BODY_BYTES));
    }
    this.#replies.add(reply, size);
  }
}
