/** A connection's next bytes, read before they are wanted: so a client's going is noticed while it waits for an answer. */
/** A socket's reading side. */
type Readable = Pick<Deno.Conn, "read">;

/** Bytes read ahead at the most; no reader's buffer is smaller. */
const SIZE = 256;

/** The reading side of a socket. One read at a time. */
export class ReadAhead {
  readonly #socket: Readable;
  #ahead: { readonly bytes: Uint8Array; readonly read: Promise<number | null> } | undefined;

  constructor(socket: Readable) {
    this.#socket = socket;
  }

  /**
   * Begins to read, unless it has begun already: only while no `read` is under way. `left` is called when the client has
   * ended its sending or the connection is lost, but not for what stands behind bytes that nobody has read yet.
   */
  begin(left: () => void): void {
    if (!this.#ahead) {
      const bytes = new Uint8Array(SIZE);
      this.#ahead = { bytes, read: this.#socket.read(bytes) };
    }
    this.#ahead.read.then((read) => read === null && left(), left);
  }

  /** Reads what comes next, as the socket does. `into` holds at least 256 bytes. */
  async read(into: Uint8Array): Promise<number | null> {
    const ahead = this.#ahead;
    if (!ahead) return await this.#socket.read(into);
    const read = await ahead.read;
    this.#ahead = undefined;
    if (read !== null) into.set(ahead.bytes.subarray(0, read));
    return read;
  }
}
