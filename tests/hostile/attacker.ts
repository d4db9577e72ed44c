/**
 * One attacking connection. It costs its process as little as possible, so that one process holds thousands.
 */
import { Msg } from "../harness/protocol_numbers.ts";
import { objectFrame } from "../harness/frames.ts";
import type { Address } from "../harness/server.ts";
import { ReplyCounter } from "./reply_counter.ts";
import type { Tally } from "./attack_plan.ts";

const READ_BYTES = 16_384; // bytes; a thousand connections have a buffer of this size each

/** An attacking connection, which counts its traffic. Disposing of it closes it. */
export class Attacker implements Disposable {
  /** The number of the connection in its squad, from 0. */
  readonly at: number;
  readonly #conn: Deno.TcpConn;
  readonly #tally: Tally;
  readonly #replies: ReplyCounter;
  readonly #buffer = new Uint8Array(READ_BYTES);

  private constructor(conn: Deno.TcpConn, at: number, tally: Tally) {
    this.#conn = conn;
    this.at = at;
    this.#tally = tally;
    this.#replies = new ReplyCounter(tally);
  }

  /** Connects, and counts the result. Rejects when the server or the system refuses the connection. */
  static async connect({ host: hostname, port }: Address, at: number, tally: Tally): Promise<Attacker> {
    try {
      const conn = await Deno.connect({ hostname, port });
      tally.connected++;
      return new Attacker(conn, at, tally);
    } catch (error) {
      tally.unconnected++;
      throw error;
    }
  }

  /** Writes the bytes. Resolves when the kernel has taken them all; rejects when the connection has ended. */
  async write(bytes: Uint8Array): Promise<void> {
    for (let at = 0; at < bytes.length;) {
      const written = await this.#conn.write(bytes.subarray(at));
      at += written;
      this.#tally.sentBytes += written;
    }
  }

  /** Writes the same bytes repeatedly. Rejects when the connection has ended, and never resolves. */
  async flood(bytes: Uint8Array): Promise<never> {
    for (;;) await this.write(bytes);
  }

  /** Logs in. Rejects when the server refuses the login. */
  async login(token: string): Promise<void> {
    await this.write(objectFrame({ msgid: Msg.LOGIN, token }));
    while (this.#replies.lastErrno === undefined) {
      if (!await this.#readSome()) throw new Error("closed instead of answering");
    }
    if (this.#replies.lastErrno !== "0") throw new Error(`the login was refused: ${this.#replies.lastErrno}`);
  }

  /** Closes the sending direction. */
  async endWriting(): Promise<void> {
    await this.#conn.closeWrite();
  }

  /** Reads and counts until the connection has ended. */
  async readOn(): Promise<void> {
    try {
      while (await this.#readSome());
    } catch {
      // reset by the server, or closed here
    }
  }

  [Symbol.dispose](): void {
    try {
      this.#conn.close();
    } catch {
      // closed already
    }
  }

  async #readSome(): Promise<boolean> {
    const read = await this.#conn.read(this.#buffer);
    if (read === null) return false;
    this.#tally.receivedBytes += read;
    this.#replies.push(this.#buffer.subarray(0, read));
    return true;
  }
}
