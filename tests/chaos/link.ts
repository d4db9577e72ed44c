/** A connection of a simulated user, which reads at the speed that its owner sets. */
import { Msg, type Received, type Sent } from "../harness/protocol_numbers.ts";
import { FrameReader, objectFrame } from "../harness/frames.ts";
import type { Address } from "../harness/server.ts";
import { pause } from "../harness/wait.ts";
import type { Outgoing } from "./memory.ts";

const READ_BYTES = 65_536; // bytes
const SLOW_READ_BYTES = 512; // bytes of one read of a slow reader
const SLOW_READ_INTERVAL_MS = 5; // ms between two reads of a slow reader: at most 100 kB/s

/** The result of a request; undefined when the connection ended before the reply. */
export type Answered = (reply: Received | undefined) => void;

interface Asked {
  readonly at: number; // performance.now()
  readonly answered: Answered;
}

/** A connection, which its owner must close. */
export class Link {
  /** The number of the user's login on this connection; 0 before one. */
  session = 0;
  /** Messages in flight. */
  readonly inFlight = new Set<Outgoing>();
  /** Resolves when the connection has ended. */
  readonly closed: Promise<void>;
  /** Whether it reads slowly. */
  slow = false;
  readonly #conn: Deno.TcpConn;
  readonly #take: (link: Link, message: Received) => void;
  readonly #asked = new Map<number, Asked>();
  #writing: Promise<unknown> = Promise.resolve();
  #open = true;
  #lastRid = 0;
  #lastAsked = performance.now();
  #gate: PromiseWithResolvers<void> | undefined;

  private constructor(conn: Deno.TcpConn, take: (link: Link, message: Received) => void) {
    this.#conn = conn;
    this.#take = take;
    this.closed = this.#read();
  }

  /**
   * Connects. `take` is called with all messages but replies to {@link ask}. Rejects as `Deno.connect` does.
   */
  static async open(at: Address, take: (link: Link, message: Received) => void): Promise<Link> {
    const conn = await Deno.connect({ hostname: at.host, port: at.port });
    conn.setNoDelay(true);
    return new Link(conn, take);
  }

  /** Whether the connection is open, as far as this side knows. */
  get open(): boolean {
    return this.#open;
  }

  /** Whether reading is paused. */
  get paused(): boolean {
    return this.#gate !== undefined;
  }

  /** The time of the oldest request without a reply, by performance.now(). */
  get waitingSince(): number {
    const [first] = this.#asked.values();
    return first?.at ?? Infinity;
  }

  /** The time of the last request, by performance.now(). */
  get lastAsked(): number {
    return this.#lastAsked;
  }

  /** Sends a message that has no reply. */
  send(message: Sent): void {
    this.#writing = this.#writing.then(async () => {
      const bytes = objectFrame(message);
      for (let at = 0; at < bytes.length;) at += await this.#conn.write(bytes.subarray(at));
    }).catch(() => this.close());
  }

  /** Sends a request. `answered` is called once, in the order of the received messages. */
  ask(message: Sent, answered: Answered): void {
    if (!this.#open) return answered(undefined);
    const rid = ++this.#lastRid;
    this.#lastAsked = performance.now();
    this.#asked.set(rid, { at: this.#lastAsked, answered });
    this.send({ ...message, rid });
  }

  /** Sends a request like {@link ask}, and resolves with the result. */
  request(message: Sent): Promise<Received | undefined> {
    return new Promise((resolve) => this.ask(message, resolve));
  }

  /**
   * Pauses reading until {@link resume}, so that the buffers of the kernel and then of the server fill up.
   */
  pause(): void {
    if (this.#open) this.#gate ??= Promise.withResolvers();
  }

  resume(): void {
    this.#gate?.resolve();
    this.#gate = undefined;
  }

  /** Closes the sending direction. Reading goes on. */
  async finish(): Promise<void> {
    await this.#writing;
    await this.#conn.closeWrite().catch(() => this.close());
  }

  /** Closes the connection at once. The kernel sends RST when bytes are unread or arrive later. */
  close(): void {
    if (!this.#open) return;
    this.#open = false;
    this.#conn.close();
    this.resume();
  }

  async #read(): Promise<void> {
    const buffer = new Uint8Array(READ_BYTES);
    const reader = new FrameReader();
    try {
      while (this.#open) {
        const n = await this.#conn.read(this.slow ? buffer.subarray(0, SLOW_READ_BYTES) : buffer);
        if (n === null) break;
        for (const body of reader.push(buffer.subarray(0, n))) this.#took(JSON.parse(body) as Received);
        if (this.slow) await pause(SLOW_READ_INTERVAL_MS);
        await this.#gate?.promise;
      }
    } catch (error) {
      if (isMistake(error)) throw error;
    } finally {
      this.close();
      for (const { answered } of this.#asked.values()) answered(undefined);
      this.#asked.clear();
    }
  }

  #took(message: Received): void {
    const asked = typeof message.rid === "number" && message.msgid !== Msg.PING
      ? this.#asked.get(message.rid)
      : undefined;
    if (!asked) return this.#take(this, message);
    this.#asked.delete(message.rid as number);
    if (message.msgid === Msg.LOGIN_ACK) this.#take(this, message); // before the messages after it
    asked.answered(message);
  }
}

/** Ignores ends of connections. Other errors are faults of the server's framing, or of this suite. */
function isMistake(error: unknown): boolean {
  return error instanceof SyntaxError || error instanceof RangeError || error instanceof TypeError;
}
