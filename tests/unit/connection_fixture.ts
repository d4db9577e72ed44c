/** A connection for tests: over a real socket or a scripted one, with requests that the test answers by hand. */
import { classicDialect } from "../../lib/server/protocol/classic_dialect.ts";
import { Connection } from "../../lib/server/net/connection.ts";
import type {
  Admission,
  ConnectionContext,
  Handler,
  Request,
} from "../../lib/server/net/connection_context.ts";
import { BULK } from "../../lib/server/scheduling/classes.ts";
import { EventLoop } from "../../lib/server/scheduling/event_loop.ts";
import { WorkQueue } from "../../lib/server/scheduling/work_queue.ts";
import { framedDialect, type ServerMessage } from "../../lib/server/protocol/dialect.ts";
import { WireError } from "../../lib/wire/decoder.ts";
import { FrameReader } from "../harness/frames.ts";
import { pause, within } from "../harness/wait.ts";

export const MAX_IN_FLIGHT = 3;
export const MAX_FRAME = 524_288;
export const WRITE_BUFFER = 4_096;

/** Holds requests until the test answers them. A body `x` is a request that is not concurrent. */
export class HoldingHandler implements Handler {
  readonly bodies: string[] = []; // that were parsed
  readonly started: string[] = [];
  readonly #answers: ((reply: ServerMessage) => void)[] = [];
  admission: Admission = { isBulk: false, pauseMs: 0 };
  readPauseMs = 0;
  leaves = 0;
  ends = 0;
  closes = 0;
  isAuthenticated = true;

  onRead(): number {
    return this.readPauseMs;
  }

  onReply(): void {}

  prepare(body: Uint8Array | WireError): Request {
    const text = body instanceof WireError ? body.message : new TextDecoder().decode(body);
    this.bodies.push(text);
    return {
      concurrent: text !== "x",
      admit: () => this.admission,
      run: () => {
        this.started.push(text);
        return new Promise((resolve) => this.#answers.push(resolve));
      },
    };
  }

  /** Answers the oldest request that was started and has no answer. */
  answer(msgid = 1): void {
    this.#answers.shift()!({ msgid });
  }

  onDrain(): void {}

  onLeave(): void {
    this.leaves++;
  }

  onEnd(): void {
    this.ends++;
  }

  onClosed(): void {
    this.closes++;
  }
}

/** Lets its callers wait, once the test says so. */
export class HoldingQueue {
  isHeld = false;
  readonly waiting: (() => void)[] = [];

  next(): Promise<void> {
    return this.isHeld ? new Promise((resolve) => this.waiting.push(resolve)) : Promise.resolve();
  }
}

export interface Line {
  readonly handshakeQueue: HoldingQueue;
  readonly bulkQueue: WorkQueue;
  readonly server: Connection;
  readonly handler: HoldingHandler;
  readonly client: Deno.TcpConn;
  readonly ran: Promise<void>;
}

export function contextOf(
  bulkQueue: WorkQueue,
  handshakeQueue: HoldingQueue,
  eventLoop = new EventLoop(),
): ConnectionContext {
  return {
    eventLoop,
    dialect: (classic: boolean) => classic ? classicDialect(1_023, 0) : framedDialect,
    maxFrameBytes: MAX_FRAME,
    maxInFlight: MAX_IN_FLIGHT,
    writeBufferBytes: WRITE_BUFFER,
    bulkQueue,
    handshakeQueue,
    closeTimeoutMs: 5_000,
  };
}

export async function withConnection(work: (line: Line) => Promise<void>): Promise<void> {
  using listener = Deno.listen({ hostname: "127.0.0.1", port: 0 });
  const [socket, client] = await Promise.all([
    listener.accept(),
    Deno.connect({ hostname: "127.0.0.1", port: listener.addr.port }),
  ]);
  const handler = new HoldingHandler();
  const handshakeQueue = new HoldingQueue();
  const eventLoop = new EventLoop();
  const bulkQueue = new WorkQueue(eventLoop, BULK);
  const server = new Connection(socket, contextOf(bulkQueue, handshakeQueue, eventLoop), () => handler);
  const ran = server.run();
  try {
    await work({ handshakeQueue, bulkQueue, server, handler, client, ran });
  } finally {
    server.abort();
    try {
      client.close();
    } catch {
      // the test had closed it
    }
    await ran;
  }
}

/** A connection on a scripted socket. */
export interface Scripted {
  readonly connection: Connection;
  readonly handler: HoldingHandler;
  /** The number of reads that were discarded. */
  readonly reads: { readonly discarded: number };
  /** Counts the yields of the connection. */
  readonly eventLoop: { readonly yields: number };
}

/**
 * Returns a connection whose reads have each of the chunks at once. After an end by the server it reads
 * `discarded` large ones, and then the client's end.
 */
export function scripted(chunks: readonly Uint8Array[], discarded: number): Scripted {
  const reads = { discarded: 0 };
  const eventLoop = {
    yields: 0,
    yieldToIo(): Promise<void> {
      this.yields++;
      return Promise.resolve();
    },
  };
  const left = [...chunks];
  const read = async (into: Uint8Array) => {
    const chunk = left.shift();
    if (chunk) into.set(chunk);
    else if (discarded > 0) { do await pause(0); while (connection.isOpen); }
    if (chunk) return chunk.length;
    return reads.discarded++ < discarded ? into.length : null;
  };
  const socket = {
    read,
    write: (bytes: Uint8Array) => Promise.resolve(bytes.length),
    closeWrite: () => Promise.resolve(),
    close: () => {},
  };
  const handler = new HoldingHandler();
  const context = contextOf(new WorkQueue(new EventLoop(), BULK), new HoldingQueue());
  const connection: Connection = new Connection(socket, { ...context, eventLoop }, () => handler);
  return { connection, handler, reads, eventLoop };
}

export function work(ms: number): void {
  for (const end = performance.now() + ms; performance.now() < end;);
}

/** Reads the msgids that come, until the end or `count` of them. */
export async function msgids(client: Deno.Conn, count = Infinity): Promise<number[]> {
  const [reader, buffer, got] = [new FrameReader(), new Uint8Array(65_536), [] as number[]];
  while (got.length < count) {
    const read = await within(client.read(buffer), "bytes");
    if (read === null) break;
    got.push(...reader.push(buffer.slice(0, read)).map((body) => JSON.parse(body).msgid as number));
  }
  return got;
}
