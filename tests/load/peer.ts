/**
 * A connection with little CPU cost: it has no queues and no promises for received messages, and it coalesces
 * writes.
 */
import { Connection } from "../harness/connection.ts";
import { Errno, Msg, type Received, type Sent } from "../harness/protocol_numbers.ts";
import { PASSWORD } from "../harness/framed_client.ts";
import { FrameReader, joined, objectFrame } from "../harness/frames.ts";
import type { Address } from "../harness/server.ts";
import { within } from "../harness/wait.ts";

/** A connection of one user. */
export class Peer {
  /** The id of the user; 0 before the login. */
  id = 0;
  /**
   * Called with each message but PING. For the reply to {@link ask} it is called before that promise
   * resolves.
   */
  onMessage: (message: Received) => void = () => {};
  /** Called after the messages of one read. */
  onRead: () => void = () => {};
  /** Called with the reason when the connection ends before {@link close}. */
  onEnd: (reason: string) => void = () => {};
  readonly #reader = new FrameReader();
  #connection!: Connection;
  #pending: Uint8Array[] = [];
  #writing = false;
  #closing = false;
  #asked: ((reply: Received) => void) | undefined;

  /** Connects. */
  static async connect(at: Address): Promise<Peer> {
    const peer = new Peer();
    peer.#connection = await Connection.open(at, {
      bytes: (chunk) => peer.#take(chunk),
      end: (reason) => {
        if (!peer.#closing) peer.onEnd(reason);
      },
    });
    return peer;
  }

  /** Queues an object, and writes it together with the others in the queue. */
  send(message: Sent): void {
    this.#pending.push(objectFrame(message));
    if (!this.#writing) this.#write();
  }

  /** Sends a request and resolves with its reply. No other request may be in flight. */
  async ask(message: Sent): Promise<Received> {
    const reply = new Promise<Received>((resolve) => this.#asked = resolve);
    this.send({ ...message, rid: "ask" });
    return await within(reply, `the reply to ${JSON.stringify(message)}`);
  }

  /** Registers a user and returns the id. Throws when the server refuses it. */
  async register(name: string): Promise<number> {
    const reply = await this.ask({ msgid: Msg.REGISTER, name, password: PASSWORD });
    if (reply.errno !== Errno.OK) throw new Error(`registering ${name}: ${JSON.stringify(reply)}`);
    return reply.id!;
  }

  /** Logs in by token, or by password when given an id. Throws when the server refuses it. */
  async login(who: number | Sent): Promise<void> {
    const proof = typeof who === "number" ? { id: who, password: PASSWORD } : who;
    const reply = await this.ask({ msgid: Msg.LOGIN, ...proof });
    if (reply.errno !== Errno.OK) throw new Error(`a login: ${JSON.stringify(reply)}`);
    this.id = reply.id!;
  }

  /** Closes the connection. */
  async close(): Promise<void> {
    this.#closing = true;
    await this.#connection.close();
  }

  #write(): void {
    this.#writing = true;
    queueMicrotask(async () => {
      try {
        while (this.#pending.length > 0) await this.#connection.write(joined(...this.#pending.splice(0)));
      } catch {
        // The connection has ended, which the reading side reports.
      }
      this.#writing = false;
    });
  }

  #take(chunk: Uint8Array): void {
    for (const body of this.#reader.push(chunk)) {
      const message = JSON.parse(body) as Received;
      if (message.msgid === Msg.PING) {
        this.send({ msgid: Msg.PONG });
        continue;
      }
      this.onMessage(message);
      if (message.rid === "ask") this.#asked?.(message);
    }
    this.onRead();
  }
}

/** Calls `work` with 0 to `count` - 1, `width` calls at a time, and resolves with the results in order. */
export async function inParallel<T>(
  count: number,
  width: number,
  work: (at: number) => Promise<T>,
): Promise<T[]> {
  const results = new Array<T>(count);
  let next = 0;
  const worker = async () => {
    for (let at; (at = next++) < count;) results[at] = await work(at);
  };
  await Promise.all(Array.from({ length: Math.min(width, count) }, worker));
  return results;
}
