/**
 * A connection's next bytes, read before they are wanted: so a client's end is noticed while it waits for an
 * answer.
 */
import { MIN_BUFFER_BYTES } from "./read_buffer.ts";

/** One read of a socket, which begins at once. */
export class ReadAhead {
  readonly #bytes = new Uint8Array(MIN_BUFFER_BYTES);
  readonly #read: Promise<number | null>;

  constructor(socket: Pick<Deno.Conn, "read">) {
    this.#read = socket.read(this.#bytes);
  }

  /** Calls `ended` if it finds that the client has ended its sending, or that the connection is lost. */
  whenEnded(ended: () => void): void {
    this.#read.then((read) => read === null && ended(), ended);
  }

  /** What the socket's own read would have done; `into` holds at least {@link MIN_BUFFER_BYTES}. */
  async take(into: Uint8Array): Promise<number | null> {
    const read = await this.#read;
    if (read !== null) into.set(this.#bytes.subarray(0, read));
    return read;
  }
}
