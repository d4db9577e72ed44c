/**
 * The socket of one client: bytes in, requests to a handler, replies and pushes out, within limits. Knows
 * framing and order; knows nothing of the meaning of messages.
 */
import { CLASSIC_FIRST_BYTE, ClassicDecoder } from "../../wire/classic.ts";
import { type Decoder, WireError } from "../../wire/decoder.ts";
import { FramedDecoder } from "../../wire/framed.ts";
import type { Dialect, ServerMessage } from "../protocol/dialect.ts";
import { INTERACTIVE } from "../scheduling/classes.ts";
import type { ConnectionContext, Handler, ProxyHeaderReader, Request, Socket } from "./connection_context.ts";
import { DISCARD_BUFFER, ReadBuffer } from "./read_buffer.ts";
import { ReadThrottle } from "./read_throttle.ts";
import { ReplyQueue, type ReplySink } from "./reply_queue.ts";
import { CoalescingWriteQueue, PacedWriteQueue, type Sink, type WriteQueue } from "./write_queue.ts";

const { timeSliceMs: TIME_SLICE_MS } = INTERACTIVE;
const MAX_IN_FLIGHT_BYTES = 262_144; // of requests in flight on a connection; beyond it none is started
// For the peer to close after the last messages. To close earlier with bytes unread would reset the connection,
// and the peer would not get these messages.
const LINGER_MS = 1_000;
const MAX_DISCARDED_BYTES = 262_144; // read after the end of a connection, for the same reason

/** A client's connection, from its acceptance to its end. */
export class Connection implements Sink, ReplySink<ServerMessage> {
  readonly #socket: Socket;
  readonly #context: ConnectionContext;
  readonly #handler: Handler;
  readonly #throttle = new ReadThrottle();
  readonly #buffer = new ReadBuffer();
  readonly #replies = new ReplyQueue<ServerMessage>(this);
  #proxyHeader: ProxyHeaderReader | undefined; // until it has been read
  // Known from the first byte on:
  #dialect: Dialect | undefined;
  #decoder: Decoder | undefined;
  #writeQueue: WriteQueue | undefined;
  #state: "open" | "ending" | "closed" = "open";
  #closing: Promise<void> | undefined;
  #lingerTimer: ReturnType<typeof setTimeout> | undefined;
  #bytesWrittenAtLastRead = 0;
  #bytesDiscarded = 0;
  #requestsStarted = 0;
  #isSerial = false; // the last request that started is not a concurrent one
  #isWaiting = false;
  #sliceEnd: number; // by performance.now: other connections run then
  #pauseMs = 0; // before anything more is taken
  /** When bytes last came or reading went on, by `performance.now`. */
  lastReadAt: number;

  constructor(
    socket: Socket,
    context: ConnectionContext,
    handler: (connection: Connection) => Handler,
    proxyHeader?: ProxyHeaderReader,
  ) {
    this.#socket = socket;
    this.#context = context;
    this.#proxyHeader = proxyHeader;
    this.lastReadAt = performance.now();
    this.#sliceEnd = this.lastReadAt + TIME_SLICE_MS;
    this.#handler = handler(this);
  }

  /** The dialect of the client; undefined before its first byte. */
  get dialect(): Dialect | undefined {
    return this.#dialect;
  }

  /** Whether requests are still taken from it. */
  get isOpen(): boolean {
    return this.#state === "open";
  }

  /** Number of requests that have started. */
  get requestsStarted(): number {
    return this.#requestsStarted;
  }

  /** Whether nothing is read for a while: silence of the client is no sign then. */
  get isPaused(): boolean {
    return this.#isWaiting;
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

  /** Bytes that the socket took after bytes of the client last came: the client may not have read them yet. */
  get bytesSinceLastRead(): number {
    return (this.#writeQueue?.bytesWritten ?? 0) - this.#bytesWrittenAtLastRead;
  }

  /** Whether messages that are not replies may be sent now, or should wait until the client has read more. */
  get isWritable(): boolean {
    return this.bufferedAmount < this.#context.writeBufferBytes;
  }

  // The members of a Sink and a ReplySink. A closure for each would take hundreds of bytes per connection.

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

  sendReply(reply: ServerMessage): void {
    const bytes = this.#dialect?.encode(reply);
    if (!bytes) return;
    this.#handler.onReply(bytes.length);
    this.sendBytes(bytes);
  }

  /** Sends a message, if the client's dialect has it. */
  send(message: ServerMessage, onWritten?: () => void): void {
    const bytes = this.#dialect?.encode(message);
    if (bytes) this.sendBytes(bytes, onWritten);
  }

  /** Sends an encoded message; `onWritten` is called when the socket has taken all of it. */
  sendBytes(bytes: Uint8Array, onWritten?: () => void): void {
    this.#writeQueue?.push(bytes, onWritten);
  }

  /**
   * Reads and answers until the connection has ended. Never rejects. Nothing is awaited that need not be: so
   * the requests of one read start in one go, and share a commit.
   */
  async run(): Promise<void> {
    const { eventLoop, bulkQueue, handshakeQueue } = this.#context;
    try {
      for (;;) {
        if (this.#pauseMs > 0 && this.isOpen) await this.#wait(this.#pause());
        const body = this.isOpen ? this.#decoder?.next() : undefined;
        if (body === undefined) {
          // In this function, as a suspended one of its own would take 500 bytes of each idle connection.
          const startedAt = performance.now();
          const read = await this.#socket.read(this.isOpen ? this.#buffer.next() : DISCARD_BUFFER);
          if (read === null) break;
          if (!this.#handler.isAuthenticated || !this.isOpen) await handshakeQueue.next();
          if (!this.#onRead(read, startedAt)) break;
          continue;
        }
        let now = performance.now(); // read once for most requests: it costs 0.1 microseconds
        if (now > this.#sliceEnd) now = await this.#wait(eventLoop.yieldToIo());
        const request = this.#handler.prepare(body);
        let parseMs = 0;
        if (!this.#hasRoomFor(request)) {
          parseMs = performance.now() - now;
          now = await this.#wait(this.#untilRoomFor(request));
        }
        const { isBulk, weight = 1, isTracked = true, pauseMs } = request.admit(now);
        if (isBulk) {
          parseMs += performance.now() - now;
          now = await this.#wait(bulkQueue.next(weight));
        }
        if (!this.isOpen) continue; // it ended meanwhile
        const reply = this.#start(request, body instanceof WireError ? 0 : body.length);
        if (isBulk) {
          bulkQueue.charge(parseMs + performance.now() - now);
          if (isTracked && reply instanceof Promise) void bulkQueue.track(reply, weight);
        } else if (reply instanceof Promise) bulkQueue.noteOtherWork(now);
        this.#pauseMs = pauseMs;
        if (body instanceof WireError && body.fatal) void this.end();
      }
    } catch {
      this.abort(); // the connection was lost, or closed by the server while it read
    }
    this.#handler.onLeave();
    if (this.#isSerial) await this.#replies.untilAtMost(0); // a login must be done before its session ends
    await handshakeQueue.next();
    this.#buffer.release();
    this.#decoder?.close();
    this.#handler.onEnd();
    await this.end(); // a client that only shut down its sending still gets its replies
    this.abort();
    this.#handler.onClosed();
  }

  /**
   * Takes no more requests, waits for the replies in flight, sends all that is buffered and then
   * `lastMessage`, and closes. Gives up after `timeoutMs` milliseconds.
   */
  end(lastMessage?: ServerMessage, timeoutMs = this.#context.closeTimeoutMs): Promise<void> {
    if (this.isOpen) {
      this.#state = "ending";
      this.#throttle.resume();
      this.#closing = this.#end(lastMessage, timeoutMs);
    }
    return this.#closing ?? Promise.resolve();
  }

  /** Closes at once, whatever is in flight or buffered. */
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
      this.#lingerTimer = setTimeout(() => this.abort(), LINGER_MS); // `run` reads on until then
    } catch {
      this.abort();
    }
  }

  /** Passes `read` bytes of the buffer to the decoder. Returns whether more may come. */
  #onRead(read: number, startedAt: number): boolean {
    const now = this.lastReadAt = performance.now();
    this.#sliceEnd = Math.min(now + TIME_SLICE_MS, this.#sliceEnd + now - startedAt); // others ran meanwhile
    this.#bytesWrittenAtLastRead = this.#writeQueue?.bytesWritten ?? 0;
    if (!this.isOpen) return (this.#bytesDiscarded += read) <= MAX_DISCARDED_BYTES;
    const bytes = this.#stripProxyHeader(this.#buffer.filled(read));
    if (bytes.length === 0) return true;
    this.#decoder ??= this.#detectDialect(bytes[0]!);
    this.#decoder.push(bytes);
    this.#pauseMs = this.#handler.onRead(read, now);
    return true;
  }

  /** Waits, and takes nothing from the client until then. Other connections run meanwhile. Returns the time. */
  async #wait(until: Promise<void>): Promise<number> {
    this.#isWaiting = true;
    await until;
    this.#isWaiting = false;
    this.lastReadAt = performance.now();
    this.#sliceEnd = this.lastReadAt + TIME_SLICE_MS;
    return this.lastReadAt;
  }

  #pause(): Promise<void> {
    const pauseMs = this.#pauseMs;
    this.#pauseMs = 0;
    return this.#throttle.pause(pauseMs);
  }

  #stripProxyHeader(bytes: Uint8Array): Uint8Array {
    if (!this.#proxyHeader) return bytes;
    const rest = this.#proxyHeader.stripHeader(bytes);
    if (rest) this.#proxyHeader = undefined;
    return rest ?? new Uint8Array(0);
  }

  #detectDialect(firstByte: number): Decoder {
    const isClassic = firstByte === CLASSIC_FIRST_BYTE;
    const dialect = this.#dialect = this.#context.dialect(isClassic);
    this.#writeQueue = dialect.writeIntervalMs > 0
      ? new PacedWriteQueue(this, dialect.writeIntervalMs)
      : new CoalescingWriteQueue(this);
    return new (isClassic ? ClassicDecoder : FramedDecoder)(this.#context.maxFrameBytes);
  }

  /** Whether the order of requests and the limits of the connection let a request start. */
  #hasRoomFor(request: Request): boolean {
    return this.#replies.isAtMost(this.#maxBefore(request), MAX_IN_FLIGHT_BYTES) &&
      this.#writeQueue!.isAtMost(this.#context.writeBufferBytes);
  }

  async #untilRoomFor(request: Request): Promise<void> {
    await this.#writeQueue!.untilAtMost(this.#context.writeBufferBytes);
    await this.#replies.untilAtMost(this.#maxBefore(request), MAX_IN_FLIGHT_BYTES);
  }

  /** Returns how many requests may be in flight when a request starts. */
  #maxBefore(request: Request): number {
    return request.concurrent && !this.#isSerial ? this.#context.maxInFlight - 1 : 0;
  }

  #start(request: Request, size: number): ReturnType<Request["run"]> {
    this.#requestsStarted++;
    this.#isSerial = !request.concurrent;
    const reply = request.run();
    this.#replies.add(reply, size);
    return reply;
  }
}
