/**
 * What a connection works with: its socket, the handler of its requests, and what it shares with other
 * connections.
 */
import type { WireError } from "../../wire/decoder.ts";
import type { EventLoop } from "../scheduling/event_loop.ts";
import type { Dialect, ServerMessage } from "../protocol/dialect.ts";
import type { WorkQueue } from "../scheduling/work_queue.ts";

/** A request that was read and is ready to be carried out. */
export interface PreparedRequest {
  /** It waits for all requests before it, and those after it wait for it. */
  readonly exclusive: boolean;
  /** Milliseconds for which it must wait, and everything that comes behind it. */
  readonly delayMs?: number;
  /** Milliseconds for which everything that comes behind it must wait. */
  readonly pauseMs?: number;
  /** Whether it is much work, or one of too many: others with less to do go first. */
  readonly lowPriority?: boolean;
  /** Carries it out. A promise must not be rejected; undefined is no reply. */
  execute(): ServerMessage | undefined | Promise<ServerMessage | undefined>;
}

/** Carries out the requests of one connection. */
export interface Handler {
  /** Whether the client has logged in. */
  readonly isAuthenticated: boolean;
  /**
   * Called with the number of bytes that have been read, at `now` by `performance.now`, behind the requests
   * in them. Gives the milliseconds for which nothing more should be read.
   */
  onRead(bytes: number, now: number): number;
  /**
   * Reads one body that has come at `now`; it is valid only during the call. What is wrong with it becomes a
   * request to answer so.
   */
  prepare(body: Uint8Array | WireError, now: number): PreparedRequest;
  /** Called with the bytes of each reply. */
  onReply(bytes: number): void;
  /** Called when bytes wait for room no longer. */
  onDrain(): void;
  /** Called once, when nothing more will come from the client. */
  onEnd(): void;
}

/** A connection's bytes; all of it is as `Deno.Conn` has it. */
export type Socket = Pick<Deno.Conn, "read" | "write" | "closeWrite" | "close">;

/** Reads what may come in front of a connection's messages. */
export interface ProxyHeaderReader {
  /**
   * Called with bytes as they come, until it returns those that are behind the preface, which may be none.
   * Throws to have the connection closed at once.
   */
  stripHeader(bytes: Uint8Array): Uint8Array | undefined;
}

/** The parts and limits of the server that a connection uses. */
export interface ConnectionContext {
  /** The dialects, by the connection's first byte. */
  dialect(isClassic: boolean): Dialect;
  /** Bytes of the largest body taken. */
  readonly maxFrameBytes: number;
  /** Requests under way; beyond it nothing is read. */
  readonly maxInFlight: number;
  /** Bytes waiting to be written; beyond it nothing is read. */
  readonly writeBufferBytes: number;
  /** Yields to pending I/O. */
  readonly eventLoop: Pick<EventLoop, "yieldToIo">;
  /** The queue of heavy requests. */
  readonly bulkQueue: WorkQueue;
  /** The queue of clients that have not logged in, and of connections that end. */
  readonly handshakeQueue: Pick<WorkQueue, "next">;
  /** Milliseconds that a client gets to read its last replies. */
  readonly closeTimeoutMs: number;
}
