/**
 * A client of the classic dialect. Like the C++ clients it reads up to 1,024 bytes at a time. In strict mode
 * it takes the bytes of one read for exactly one message, as the C++ clients do.
 */
import { Connection } from "./connection.ts";
import { type ClassicReceived, Errno, Msg, type Sent } from "./protocol_numbers.ts";
import { joined } from "./frames.ts";
import { PASSWORD } from "./framed_client.ts";
import { Inbox } from "./inbox.ts";
import type { Address } from "./server.ts";
import { TIMEOUT_MS, until } from "./wait.ts";

const READ_BYTES = 1_024; // bytes; the read buffer of the C++ clients
const encoder = new TextEncoder();

/** A received message. */
export interface Arrival {
  readonly message: ClassicReceived;
  /** The bytes of the message with its NUL. */
  readonly bytes: number;
}

/** Encodes an object as the C++ clients do: JSON and a NUL. */
export function classicBytes(message: Sent, end = "\0"): Uint8Array {
  return encoder.encode(JSON.stringify(message) + end);
}

/** A connection. Disposing of it closes it. */
export class ClassicClient implements AsyncDisposable {
  /** The id of the user; 0 before the first login. */
  id = 0;
  readonly #inbox = new Inbox<Arrival>();
  readonly #decoder = new TextDecoder("utf-8", { fatal: true });
  readonly #strict: boolean;
  #connection!: Connection;
  #left: Uint8Array = new Uint8Array(0);
  #fault: string | undefined;

  private constructor(strict: boolean) {
    this.#strict = strict;
  }

  /**
   * Connects. In `strict` mode one read must give one message. This process must read faster than the server
   * writes, so a strict test needs a long --classic-write-interval.
   */
  static async connect(at: Address, options: { readonly strict?: boolean } = {}): Promise<ClassicClient> {
    const client = new ClassicClient(options.strict ?? false);
    client.#connection = await Connection.open(at, {
      bytes: (chunk) => client.#take(chunk),
      end: (reason) => client.#inbox.end(client.#fault ?? reason),
    }, { size: READ_BYTES });
    return client;
  }

  /** The received messages that no call has taken, oldest first. */
  get waiting(): readonly Arrival[] {
    return this.#inbox.waiting;
  }

  /** Takes all received messages. */
  drain(): Arrival[] {
    return this.#inbox.drain();
  }

  /** Sends an object with its NUL. */
  send(message: Sent): Promise<void> {
    return this.#connection.write(classicBytes(message));
  }

  /** Sends bytes unchanged. */
  sendBytes(bytes: Uint8Array): Promise<void> {
    return this.#connection.write(bytes);
  }

  /**
   * Takes the first message with this msgid, or that `match` accepts. Waits for it for at most `ms`
   * milliseconds.
   */
  async next(
    match: number | ((message: ClassicReceived) => boolean),
    ms = TIMEOUT_MS,
  ): Promise<ClassicReceived> {
    const test = typeof match === "number" ? (m: ClassicReceived) => m.msgid === match : match;
    return (await this.#inbox.next((a) => test(a.message), `a classic message: ${match}`, ms)).message;
  }

  /** Takes the next messages of any kind. */
  async arrivals(count: number): Promise<Arrival[]> {
    const taken: Arrival[] = [];
    while (taken.length < count) taken.push(await this.#inbox.next(() => true, "any classic message"));
    return taken;
  }

  /** Logs in as the C++ clients do and returns the reply, also a refusal. */
  async login(id: number, password = PASSWORD): Promise<ClassicReceived> {
    await this.send({ msgid: Msg.LOGIN, id, password });
    const reply = await this.next(Msg.LOGIN_ACK);
    if (reply.errno === 0) this.id = id;
    return reply;
  }

  /**
   * Logs in, and tries again while the server has not noticed the end of the account's last connection.
   * Rejects when the server refuses the login for another reason.
   */
  enter(id: number): Promise<ClassicReceived> {
    return until(async () => {
      const reply = await this.login(id);
      if (reply.errno === Errno.OK) return reply;
      if (reply.errno === Errno.ALREADY_ONLINE) return undefined;
      throw new Error(`the login was answered with ${JSON.stringify(reply)}`);
    }, `the account ${id} to be free`);
  }

  /** Sends a chat message as the C++ clients do. */
  chat(toid: number, msg: string, name = "whoever"): Promise<void> {
    return this.send({ msgid: Msg.ONE_CHAT, id: this.id, name, toid, msg, time: "2020-01-01 00:00:00" });
  }

  /** Sends a message to a group as the C++ clients do. */
  groupChat(groupid: number, msg: string, name = "whoever"): Promise<void> {
    return this.send({ msgid: Msg.GROUP_CHAT, id: this.id, name, groupid, msg, time: "2020-01-01 00:00:00" });
  }

  /** Waits until the server has closed the connection. */
  serverCloses(ms?: number): Promise<void> {
    return this.#connection.serverCloses(ms);
  }

  /** Closes the connection and waits for its end. */
  close(): Promise<void> {
    return this.#connection.close();
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.close();
  }

  #take(chunk: Uint8Array): void {
    if (this.#strict && chunk.indexOf(0) !== chunk.length - 1) {
      this.#fault = `one read gave ${chunk.length} bytes that are not one message with its NUL`;
      throw new Error(this.#fault);
    }
    let bytes = joined(this.#left, chunk);
    for (let end; (end = bytes.indexOf(0)) >= 0; bytes = bytes.subarray(end + 1)) {
      const message = JSON.parse(this.#decoder.decode(bytes.subarray(0, end))) as ClassicReceived;
      this.#inbox.put({ message, bytes: end + 1 });
    }
    this.#left = bytes;
  }
}
