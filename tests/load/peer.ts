/** A connection that costs the load program little: no queues, no promises for what comes, writes gathered. */
import { Connection } from "../harness/connection.ts";
import { Errno, Msg, type Received, type Sent } from "../harness/protocol_numbers.ts";
import { PASSWORD } from "../harness/framed_client.ts";
import { FrameReader, joined, objectFrame } from "../harness/frames.ts";
import type { Address } from "../harness/server.ts";
import { within } from "../harness/wait.ts";

/** One connection of one user. */
export class Peer {
  /** Who is logged in; 0 before that. */
  id = 0;
  /** Takes every message but PING; for one that answers a request of {@link ask}, before that resolves. */
  onMessage: (message: Received) => void = () => {};
  /** Is told why when the connection ends before {@link close} is called. */
  onEnd: (why: string) => void = () => {};
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
      end: (why) => {
        if (!peer.#closing) peer.onEnd(why);
      },
    });
    return peer;
  }

  /** Sends an object, together with what else is waiting to be sent. */
  send(message: Sent): void {
    this.#pending.push(objectFrame(message));
    if (!this.#writing) this.#write();
  }

  /** Sends a request and resolves with its reply. One at a time, and with no other requests under way. */
  async ask(message: Sent): Promise<Received> {
    const reply = new Promise<Received>((resolve) => this.#asked = resolve);
    this.send({ ...message, rid: "ask" });
    return await within(reply, `the reply to ${JSON.stringify(message)}`);
  }

  /** Registers a user and returns the id. Throws when that is refused. */
  async register(name: string): Promise<number> {
    const reply = await this.ask({ msgid: Msg.REGISTER, name, password: PASSWORD });
    if (reply.errno !== Errno.OK) throw new Error(`registering ${name}: ${JSON.stringify(reply)}`);
    return reply.id!;
  }

  /** Logs in, by the password if it is given an id. Throws when that is refused. */
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
        // The connection has ended, of which the reading side tells.
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
  }
}

/** Calls `work` for 0 to `count` - 1, `width` of them at a time, and resolves with the results in order. */
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
