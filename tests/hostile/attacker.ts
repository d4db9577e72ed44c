/** One connection that means harm: it costs its own process as little as it can, so that many of them fit in one. */
import { Msg } from "../harness/protocol_numbers.ts";
import { objectFrame } from "../harness/frames.ts";
import type { Address } from "../harness/server.ts";
import { ReplyCounter } from "./reply_counter.ts";
import type { Tally } from "./attack_plan.ts";

const READ_SIZE = 16_384; // bytes: a thousand of these are read into at the same time

/** A connection and what it has achieved. Dispose of it to close it. */
export class Attacker implements Disposable {
  /** Its number within its squad, from 0 on. */
  readonly at: number;
  readonly #conn: Deno.TcpConn;
  readonly #tally: Tally;
  readonly #replies: ReplyCounter;
  readonly #buffer = new Uint8Array(READ_SIZE);

  private constructor(conn: Deno.TcpConn, at: number, tally: Tally) {
    this.#conn = conn;
    this.at = at;
    this.#tally = tally;
    this.#replies = new ReplyCounter(tally);
  }

  /** Connects. Rejects, and counts that, when the server or the system can't take it. */
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

  /** Resolves when the system has taken the bytes, which may be long after. Rejects when the connection has ended. */
  async write(bytes: Uint8Array): Promise<void> {
    for (let at = 0; at < bytes.length;) {
      const written = await this.#conn.write(bytes.subarray(at));
      at += written;
      this.#tally.sentBytes += written;
    }
  }

  /** Writes the same again and again. Only ever rejects, when the connection has ended. */
  async flood(bytes: Uint8Array): Promise<never> {
    for (;;) await this.write(bytes);
  }

  /** Logs in. Rejects when that is refused. */
  async login(token: string): Promise<void> {
    await this.write(objectFrame({ msgid: Msg.LOGIN, token }));
    while (this.#replies.lastErrno === undefined) {
      if (!await this.#readSome()) throw new Error("closed instead of answering");
    }
    if (this.#replies.lastErrno !== "0") throw new Error(`the login was refused: ${this.#replies.lastErrno}`);
  }

  /** Says that nothing more will be written. */
  async endWriting(): Promise<void> {
    await this.#conn.closeWrite();
  }

  /** Reads all that comes and resolves when the connection has ended. */
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
