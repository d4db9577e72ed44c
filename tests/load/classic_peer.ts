/**
 * A connection of the classic dialect, to this server or to a server of the C++ family. It writes each message
 * alone, as the clients of that family do: their servers take the bytes of one read for one message.
 */
import { classicBytes } from "../harness/classic_client.ts";
import { Connection } from "../harness/connection.ts";
import { joined } from "../harness/frames.ts";
import { PASSWORD } from "../harness/framed_client.ts";
import { type ClassicReceived, Errno, Msg, type Sent } from "../harness/protocol_numbers.ts";
import type { Address } from "../harness/server.ts";
import { within } from "../harness/wait.ts";

const [QUOTE, BACKSLASH, OPEN, CLOSE] = [0x22, 0x5c, 0x7b, 0x7d];

/** Splits a server's bytes into objects. There may be NULs, white space or nothing between two of them. */
export class ClassicReader {
  #left: Uint8Array = new Uint8Array(0);
  readonly #decoder = new TextDecoder(); // not fatal: some servers of the family send other encodings

  /** Returns the objects that `chunk` completes, as JSON. */
  push(chunk: Uint8Array): string[] {
    const bytes = this.#left.length === 0 ? chunk : joined(this.#left, chunk);
    const objects: string[] = [];
    let [from, depth, isInString] = [0, 0, false];
    for (let at = 0; at < bytes.length; at++) {
      const byte = bytes[at];
      if (isInString) {
        if (byte === BACKSLASH) at++;
        else if (byte === QUOTE) isInString = false;
      } else if (byte === OPEN) {
        if (depth++ === 0) from = at;
      } else if (depth > 0) {
        if (byte === QUOTE) isInString = true;
        else if (byte === CLOSE && --depth === 0) {
          objects.push(this.#decoder.decode(bytes.subarray(from, at + 1)));
          from = at + 1;
        }
      }
    }
    this.#left = depth > 0 ? bytes.slice(from) : new Uint8Array(0);
    return objects;
  }
}

/** A connection of one user. */
export class ClassicPeer {
  readonly name: string;
  /** The id of the user; 0 before {@link enter}. */
  id = 0;
  onMessage: (message: ClassicReceived) => void = () => {};
  /** Called with the reason when the connection ends before {@link close}. */
  onEnd: (reason: string) => void = () => {};
  readonly #reader = new ClassicReader();
  #connection!: Connection;
  #closing = false;

  private constructor(name: string) {
    this.name = name;
  }

  /** Connects, registers a user and logs in. Throws when the server refuses it. */
  static async enter(at: Address, name: string): Promise<ClassicPeer> {
    const peer = new ClassicPeer(name);
    peer.#connection = await Connection.open(at, {
      bytes: (chunk) => {
        for (const body of peer.#reader.push(chunk)) peer.onMessage(JSON.parse(body) as ClassicReceived);
      },
      end: (reason) => {
        if (!peer.#closing) peer.onEnd(reason);
      },
    });
    const registered = await peer.#ask({ msgid: Msg.REGISTER, name, password: PASSWORD }, Msg.REGISTER_ACK);
    const id = registered.id!;
    await peer.#ask({ msgid: Msg.LOGIN, id, password: PASSWORD }, Msg.LOGIN_ACK);
    peer.id = id;
    return peer;
  }

  /** Sends an object. The end of the connection is reported by the reading side. */
  send(message: Sent): void {
    this.#connection.write(classicBytes(message)).catch(() => {});
  }

  /** Closes the connection. */
  async close(): Promise<void> {
    this.#closing = true;
    await this.#connection.close();
  }

  /** Sends a request and resolves with its reply, the next message with this msgid. */
  async #ask(message: Sent, msgid: number): Promise<ClassicReceived> {
    const reply = new Promise<ClassicReceived>((resolve, reject) => {
      this.onMessage = (received) => received.msgid === msgid && resolve(received);
      this.onEnd = (reason) => reject(new Error(reason));
    });
    this.send(message);
    const received = await within(reply, `the reply to ${JSON.stringify(message)}`);
    if (received.errno !== Errno.OK) {
      throw new Error(`${JSON.stringify(message)} was answered with ${JSON.stringify(received)}`);
    }
    return received;
  }
}
