/**
 * A connection's next bytes, read before they are wanted: so a client's end is noticed while it waits for an
 * answer.
 */
import { MIN_BUFFER_BYTES } from "./read_buffer.ts";

/** One read of a socket, which begins at once. */
export class ReadAhead {
  readonly #bytes = new Uint8Array(MIN_BUFFER_BYTES);
  readonly #pendingRead: Promise<number | null>;

  constructor(socket: Pick<Deno.Conn, "read">) {
    this.#pendingRead = socket.read(this.#bytes);
  }

  /** Calls `ended` if it finds that the client has ended its sending, or that the connection is lost. */
  onEnd(callback: () => void): void {
    this.#pendingRead.then((read) => read === null && callback(), callback);
  }

  /** What the socket's own read would have done; `into` holds at least {@link MIN_BUFFER_BYTES}. */
  async read(into: Uint8Array): Promise<number | null> {
    const size = await this.#pendingRead;
    if (size !== null) into.set(this.#bytes.subarray(0, size));
    return size;
  }
}
