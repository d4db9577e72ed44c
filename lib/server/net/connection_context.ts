/** The parts that a connection works with: its socket, the handler of its requests, and the server's context. */
import type { WireError } from "../../wire/decoder.ts";
import type { Dialect, ServerMessage } from "../protocol/dialect.ts";
import type { EventLoop } from "../scheduling/event_loop.ts";
import type { WorkQueue } from "../scheduling/work_queue.ts";

/** When a request starts, and when the next one is taken. */
export interface Admission {
  /** Whether it starts in the bulk class, or else at once. */
  readonly isBulk: boolean;
  /** Its weight in the bulk class; 1 by default. */
  readonly weight?: number;
  /** Whether it counts as an item in progress of the bulk class until its reply; true by default. */
  readonly isTracked?: boolean;
  /** Milliseconds for which nothing more is taken from the connection. */
  readonly pauseMs: number;
}

/** A request that was parsed. */
export interface Request {
  /** Otherwise it waits for all requests before it, and those after it wait for it. */
  readonly concurrent: boolean;
  /** Called once at `now`, when the order of requests allows it to start. */
  admit(now: number): Admission;
  /** Carries it out. Returns its reply; undefined if it has none. A promise must not reject. */
  run(): ServerMessage | undefined | Promise<ServerMessage | undefined>;
}

/** The handler of the requests of one connection. Times are by `performance.now`. */
export interface Handler {
  /** Whether the client has logged in. */
  readonly isAuthenticated: boolean;
  /** Called when `bytes` bytes were read. Returns the milliseconds for which nothing more should be taken. */
  onRead(bytes: number, now: number): number;
  /** Parses one body, which is valid only during the call. The request of a bad one replies with the error. */
  prepare(body: Uint8Array | WireError): Request;
  /** Called with the bytes of each reply. */
  onReply(bytes: number): void;
  /** Called when the client has read enough for messages that are not replies to be sent again. */
  onDrain(): void;
  /** Called once, when nothing more comes from the client. Requests may be in flight. */
  onLeave(): void;
  /** Called once after {@link Handler.onLeave}, when all requests in flight are concurrent ones. */
  onEnd(): void;
  /** Called once, at last, when the connection is closed. */
  onClosed(): void;
}

/** The bytes of a connection, as `Deno.Conn` has them. */
export type Socket = Pick<Deno.Conn, "read" | "write" | "closeWrite" | "close">;

/** Removes the PROXY header, if any, that comes before the first message. */
export interface ProxyHeaderReader {
  /**
   * Called with bytes as they come, until it returns those after the header, which may be none. Throws to
   * close the connection at once.
   */
  stripHeader(bytes: Uint8Array): Uint8Array | undefined;
}

/** The parts and limits of the server that its connections share. */
export interface ConnectionContext {
  /** Returns the dialect; the first byte of a connection tells which one it speaks. */
  dialect(isClassic: boolean): Dialect;
  /** Bytes of the largest body. */
  readonly maxFrameBytes: number;
  /** Requests in flight on a connection; beyond it none is started. */
  readonly maxInFlight: number;
  /** Bytes waiting to be written to a connection; beyond it no request is started. */
  readonly writeBufferBytes: number;
  readonly eventLoop: Pick<EventLoop, "yieldToIo">;
  /** The bulk class. */
  readonly bulkQueue: Pick<WorkQueue, "next" | "charge" | "track" | "noteOtherWork">;
  /** The class of unauthenticated and closing connections. */
  readonly handshakeQueue: Pick<WorkQueue, "next">;
  /** Milliseconds for a client to read its last replies. */
  readonly closeTimeoutMs: number;
}
