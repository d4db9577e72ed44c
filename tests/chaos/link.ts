/** One connection of a user's: frames both ways, read as fast or as slowly as its owner likes. */
import { Msg, type Received, type Sent } from "../harness/protocol_numbers.ts";
import { FrameReader, objectFrame } from "../harness/frames.ts";
import type { Address } from "../harness/server.ts";
import { pause } from "../harness/wait.ts";
import type { Outgoing } from "./memory.ts";

const READ_BYTES = 65_536; // bytes
const SLOW_READ_BYTES = 512; // bytes that a slow reader takes at once
const SLOW_READ_INTERVAL_MS = 5; // ms between two reads of a slow reader: 100 kB/s at the most

/** What comes of a request; undefined when the connection ended before the reply came. */
export type Answered = (reply: Received | undefined) => void;

interface Asked {
  readonly at: number; // performance.now()
  readonly answered: Answered;
}

/** A connection. Close it when done. */
export class Link {
  /** Number of the user's login that it carries; 0 while it carries none. */
  session = 0;
  /** Messages that were sent on it and not answered yet. */
  readonly inFlight = new Set<Outgoing>();
  /** Fulfilled when nothing more can come. */
  readonly closed: Promise<void>;
  /** Whether it reads little at a time. */
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

  /** Connects; `take` is given what comes, but for replies to what was asked. Rejects as `Deno.connect` does. */
  static async open(at: Address, take: (link: Link, message: Received) => void): Promise<Link> {
    const conn = await Deno.connect({ hostname: at.host, port: at.port });
    conn.setNoDelay(true);
    return new Link(conn, take);
  }

  /** Whether it stands, as far as this side knows. */
  get open(): boolean {
    return this.#open;
  }

  /** Whether it reads nothing now. */
  get paused(): boolean {
    return this.#gate !== undefined;
  }

  /** When what still has no answer was asked, the earliest of it, in performance.now()'s time. */
  get waitingSince(): number {
    const [first] = this.#asked.values();
    return first?.at ?? Infinity;
  }

  /** When something was asked last, in performance.now()'s time. */
  get lastAsked(): number {
    return this.#lastAsked;
  }

  /** Sends something that has no reply. */
  send(message: Sent): void {
    this.#writing = this.#writing.then(async () => {
      const bytes = objectFrame(message);
      for (let at = 0; at < bytes.length;) at += await this.#conn.write(bytes.subarray(at));
    }).catch(() => this.close());
  }

  /** Sends a request; `answered` is called in the order of what comes, once. */
  ask(message: Sent, answered: Answered): void {
    if (!this.#open) return answered(undefined);
    const rid = ++this.#lastRid;
    this.#lastAsked = performance.now();
    this.#asked.set(rid, { at: this.#lastAsked, answered });
    this.send({ ...message, rid });
  }

  /** As {@link ask}, for callers that can wait. */
  request(message: Sent): Promise<Received | undefined> {
    return new Promise((resolve) => this.ask(message, resolve));
  }

  /** Reads nothing more until {@link resume}: what comes fills the system's buffers, and then the server's. */
  pause(): void {
    if (this.#open) this.#gate ??= Promise.withResolvers();
  }

  resume(): void {
    this.#gate?.resolve();
    this.#gate = undefined;
  }

  /** Says that nothing more will be written; what the server still sends is read. */
  async finish(): Promise<void> {
    await this.#writing;
    await this.#conn.closeWrite().catch(() => this.close());
  }

  /** Ends it at once, whatever is under way; where something was unread, or comes now, the system says RST. */
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
    if (message.msgid === Msg.LOGIN_ACK) this.#take(this, message); // before what comes behind it
    asked.answered(message);
  }
}

/** Connections may end in any way; anything else is a mistake of the server's framing, or of this suite. */
function isMistake(error: unknown): boolean {
  return error instanceof SyntaxError || error instanceof RangeError || error instanceof TypeError;
}
