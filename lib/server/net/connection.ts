/**
 * One client's socket: bytes in, requests to a handler, replies and pushes out, within limits. Knows
 * framing and order; knows nothing of what the messages mean.
 */
import { CLASSIC_FIRST_BYTE, ClassicDecoder } from "../../wire/classic.ts";
import { type Decoder, WireError } from "../../wire/decoder.ts";
import { FramedDecoder } from "../../wire/framed.ts";
import type { ConnectionContext, Handler, Preface, Request, Socket } from "./connection_context.ts";
import type { Dialect, ServerMessage } from "../protocol/dialect.ts";
import type { Outbox, Sink } from "./write_queue.ts";
import { Pauses } from "./read_throttle.ts";
import { ReadAhead } from "./read_ahead.ts";
import { ReadBuffer, UNHEARD } from "./read_buffer.ts";
import { Replies } from "./reply_queue.ts";

const PENDING_BYTES = 262_144; // bytes of requests under way on a connection; beyond it nothing is read
const LINGER = 1_000; // ms for the peer to close after the last words, before its socket is closed
// taken from a client after its connection's end, so that it can read our last words
const LAST_BYTES = 262_144;
const LARGE = 16_384; // bytes of a body: reading it is heavy work
// bytes of a large answer that are put together, copied and written in 1 ms, roughly
const ANSWERED = 100_000;
const LOOKS = 16; // requests between two looks at the clock
// ms of work for one connection, then the others have a turn, so that no flood makes others wait
const SLICE = 2;

/** A client's connection, from its acceptance to its end. */
export class Connection implements Sink {
  readonly #socket: Socket;
  readonly #context: ConnectionContext;
  readonly #handler: Handler;
  readonly #pauses: Pauses;
  readonly #replies = new Replies<ServerMessage>((reply) => this.#reply(reply));
  #preface: Preface | undefined; // until it has been read
  #ahead: ReadAhead | undefined; // while the end is watched for
  #dialect: Dialect | undefined; // known from the first byte on
  #outbox: Outbox | undefined;
  #state: "open" | "ending" | "closed" = "open";
  #closing: Promise<void> | undefined;
  #lingering: ReturnType<typeof setTimeout> | undefined;
  #takenWhenHeard = 0; // bytes
  #taken = 0;
  /** When bytes last came, by `performance.now`. */
  lastHeard: number;

  constructor(
    socket: Socket,
    context: ConnectionContext,
    handler: (connection: Connection) => Handler,
    preface?: Preface,
  ) {
    this.#socket = socket;
    this.#context = context;
    this.#pauses = new Pauses(context.lane);
    this.#preface = preface;
    this.lastHeard = performance.now();
    this.#handler = handler(this);
  }

  /** The dialect it speaks; undefined before its first byte. */
  get dialect(): Dialect | undefined {
    return this.#dialect;
  }

  /** Whether requests are still taken from it. */
  get open(): boolean {
    return this.#state === "open";
  }

  /** How many requests have been begun. */
  get taken(): number {
    return this.#taken;
  }

  /** Whether nothing is read for a while. */
  get isResting(): boolean {
    return this.#pauses.isResting;
  }

  /** Requests that have no reply yet. */
  get pending(): number {
    return this.#replies.pending;
  }

  /** Bytes that wait for the client to read. */
  get waiting(): number {
    return this.#outbox?.bytes ?? 0;
  }

  /** When the socket last took bytes that waited, by `performance.now`. */
  get lastTaken(): number {
    return this.#outbox?.lastTaken ?? 0;
  }

  /** Bytes that the socket took after the client was last heard: it may not have read as far. */
  get unheard(): number {
    return (this.#outbox?.taken ?? 0) - this.#takenWhenHeard;
  }

  /** Whether what isn't a reply may be sent now, or should wait until the client has read more. */
  get hasRoom(): boolean {
    return this.waiting < this.#context.writeBufferBytes;
  }

  // What its outbox needs of it. As methods: closures for it are hundreds of bytes for each connection.

  get limit(): number {
    return this.#context.writeBufferBytes;
  }

  write(bytes: Uint8Array): Promise<number> {
    return this.#socket.write(bytes);
  }

  room(): void {
    this.#handler.room();
  }

  failed(): void {
    this.abort();
  }

  /**
   * Calls `left` when the client ends its sending, or the connection is lost, while an exclusive request is
   * being answered; to be called while one is. Bytes that the client sends meanwhile hide that.
   */
  watchForEnd(left: () => void): void {
    this.#ahead ??= new ReadAhead(this.#socket);
    this.#ahead.whenEnded(left);
  }

  /** Sends a message, if the client's dialect has such a one. */
  send(message: ServerMessage, taken?: () => void): void {
    const bytes = this.#dialect?.encode(message);
    if (bytes) this.sendBytes(bytes, taken);
  }

  /** Sends a message that is encoded already; `taken` is called when the socket has it whole. */
  sendBytes(bytes: Uint8Array, taken?: () => void): void {
    this.#outbox?.push(bytes, taken);
  }

  #reply(reply: ServerMessage): void {
    const bytes = this.#dialect?.encode(reply);
    if (!bytes) return;
    this.#handler.answered(bytes.length);
    if (bytes.length > LARGE) this.#context.lane.spent(bytes.length / ANSWERED);
    this.sendBytes(bytes);
  }

  /** Reads and answers until the connection has ended. Never rejects. */
  async run(): Promise<void> {
    const buffer = new ReadBuffer();
    let decoder: Decoder | undefined;
    try {
      let worked = 0; // ms since others had a turn
      let unheard = 0; // bytes that came after the end
      for (let before = performance.now();;) {
        const read = await this.#read(this.open ? buffer.bytes : UNHEARD);
        if (read === null) break;
        if (!this.#handler.isAuthenticated || !this.open) await this.#context.crowd.turn();
        this.lastHeard = performance.now();
        this.#takenWhenHeard = this.#outbox?.taken ?? 0;
        if (this.lastHeard - before > SLICE) worked = 0; // it had to wait, and others ran
        before = this.lastHeard;
        if (!this.open) {
          unheard += read;
          if (unheard > LAST_BYTES) break;
          continue;
        }
        const bytes = this.#behindPreface(buffer.bytes.subarray(0, read));
        if (bytes.length === 0) continue;
        decoder ??= this.#recognize(bytes[0]!);
        decoder.push(bytes);
        let count = 0;
        for (let body; this.open && (body = decoder.next()) !== undefined;) {
          count++;
          const size = body instanceof WireError ? 0 : body.length;
          if (size > LARGE) before = await this.#pauses.turn();
          const request = this.#handler.read(body, before);
          if (size > LARGE) this.#context.lane.spent(performance.now() - before);
          if (request.delay) before = await this.#rest(request.delay);
          if (request.isHeavy) before = await this.#pauses.turn();
          if (!this.open) break; // it ended meanwhile
          const wait = this.#take(request, size);
          if (request.isHeavy) this.#context.lane.spent(performance.now() - before);
          if (wait) await wait;
          if (body instanceof WireError && body.fatal) void this.end();
          if (request.pause && this.open) before = await this.#rest(request.pause);
          if (count % LOOKS === 0 && worked + performance.now() - before > SLICE) {
            await this.#context.breaks.next();
            worked = 0;
            before = performance.now();
          }
        }
        const rest = this.open ? this.#handler.heard(read, before) : 0;
        if (rest > 0) before = await this.#rest(rest);
        buffer.adapt(read);
        const now = performance.now();
        worked += now - before;
        before = now;
      }
    } catch {
      this.abort(); // the connection was lost, or closed by us while it read
    }
    await this.#context.crowd.turn();
    buffer.release();
    decoder?.close();
    this.#handler.ended();
    await this.end(); // a client that only shut down its sending still gets its replies
    this.abort();
  }

  /**
   * Takes no more requests, waits for the replies under way, sends what waits and `last` behind it, and
   * closes. What isn't done or read after `within` ms is given up.
   */
  end(last?: ServerMessage, within = this.#context.patience): Promise<void> {
    if (this.open) {
      this.#state = "ending";
      this.#pauses.wake();
      this.#closing = this.#end(last, within);
    }
    return this.#closing ?? Promise.resolve();
  }

  /** Closes at once, whatever waits. */
  abort(): void {
    if (this.#state === "closed") return;
    this.#state = "closed";
    this.#pauses.wake();
    clearTimeout(this.#lingering);
    this.#replies.close();
    this.#outbox?.close();
    try {
      this.#socket.close();
    } catch {
      // the runtime had closed it
    }
  }

  async #end(last: ServerMessage | undefined, within: number): Promise<void> {
    let timer: ReturnType<typeof setTimeout> | undefined;
    const timeout = new Promise<void>((resolve) => timer = setTimeout(resolve, within));
    const flushed = this.#replies.whenAtMost(0).then(() => {
      if (last) this.send(last);
      return this.#outbox?.whenAtMost(0);
    });
    await Promise.race([flushed, timeout]);
    clearTimeout(timer);
    if (this.#state === "closed") return;
    try {
      await this.#socket.closeWrite();
      // Closing with bytes unread would reset the connection and take our last words with it: `run` reads on.
      this.#lingering = setTimeout(() => this.abort(), LINGER);
    } catch {
      this.abort();
    }
  }

  /**
   * Reads nothing for a while; gives the time. What the client says meanwhile isn't read, so its silence is
   * no sign.
   */
  async #rest(ms: number): Promise<number> {
    return this.lastHeard = await this.#pauses.rest(ms);
  }

  #read(into: Uint8Array): Promise<number | null> {
    const ahead = this.#ahead;
    this.#ahead = undefined;
    return ahead ? ahead.take(into) : this.#socket.read(into);
  }

  #behindPreface(bytes: Uint8Array): Uint8Array {
    if (!this.#preface) return bytes;
    const behind = this.#preface.take(bytes);
    if (behind) this.#preface = undefined;
    return behind ?? new Uint8Array(0);
  }

  #recognize(firstByte: number): Decoder {
    const classic = firstByte === CLASSIC_FIRST_BYTE;
    this.#dialect = this.#context.dialect(classic);
    this.#outbox = this.#dialect.outbox(this);
    return new (classic ? ClassicDecoder : FramedDecoder)(this.#context.maxFrame);
  }

  /** Carries out a request of `size` bytes; a promise when the next one must wait. */
  #take(request: Request, size: number): Promise<void> | undefined {
    const { maxInFlight, writeBufferBytes } = this.#context;
    const full = this.pending >= maxInFlight || this.#replies.bytes > PENDING_BYTES ||
      this.waiting > writeBufferBytes;
    if (request.exclusive || full) return this.#takeLater(request, size);
    this.#begin(request, size);
    return undefined;
  }

  async #takeLater(request: Request, size: number): Promise<void> {
    const { maxInFlight, writeBufferBytes } = this.#context;
    await this.#outbox?.whenAtMost(writeBufferBytes);
    await this.#replies.whenAtMost(request.exclusive ? 0 : maxInFlight - 1, PENDING_BYTES);
    if (this.open) {
      this.#begin(request, size);
      if (request.exclusive) await this.#replies.whenAtMost(0);
    }
  }

  #begin(request: Request, size: number): void {
    this.#taken++;
    const reply = request.answer();
    if (request.isHeavy && reply instanceof Promise) {
      void this.#context.lane.hold(reply, 1 + Math.floor(size / LARGE));
    }
    this.#replies.add(reply, size);
  }
}
