/** A relay between a client and a server, which counts, delays or cuts connections for a test. */
import type { Address } from "./server.ts";
import { pause } from "./wait.ts";

/**
 * The fate of a request: it passes; the connection is cut before the server sees it, or after the server's
 * reply and before the client sees that; or the connection carries nothing more until it is released.
 */
export type Fate = "pass" | "cut" | "cut its answer" | "hold";

/** Forwards connections to a server. Disposing of it closes them. */
export class Relay implements Address, AsyncDisposable {
  readonly host = "127.0.0.1";
  readonly port: number;
  /** Number of round trips of the clients. */
  roundTrips = 0;
  /** Decides the fate of each part that clients send. A long request consists of several parts. */
  decide: (piece: string) => Fate = () => "pass";
  /** Bytes per second of all connections together, in each direction. */
  speed = Infinity;
  readonly #listener: Deno.TcpListener;
  readonly #to: Address;
  readonly #open = new Set<Deno.TcpConn>();
  readonly #work: Promise<void>[] = [];
  readonly #up = { free: 0 };
  readonly #down = { free: 0 };
  readonly #released = Promise.withResolvers<void>();
  #flowing = Promise.withResolvers<void>();

  /** Makes a relay to a server. */
  constructor(to: Address) {
    this.#to = to;
    this.#listener = Deno.listen({ hostname: this.host, port: 0 });
    this.port = this.#listener.addr.port;
    this.#flowing.resolve();
    this.#work.push(this.#accept());
  }

  /** Stops all traffic, also the ends of connections, as a pulled cable does. */
  freeze(): void {
    this.#flowing = Promise.withResolvers();
  }

  /** Resumes the traffic after a stop. */
  thaw(): void {
    this.#flowing.resolve();
  }

  /** Releases the connections that carry nothing more. */
  release(): void {
    this.#released.resolve();
  }

  async [Symbol.asyncDispose](): Promise<void> {
    this.#listener.close();
    this.thaw();
    this.release();
    for (const conn of [...this.#open]) this.#close(conn);
    while (this.#work.length > 0) await this.#work.pop();
  }

  async #accept(): Promise<void> {
    try {
      for await (const client of this.#listener) this.#work.push(this.#relay(client));
    } catch {
      // the relay was closed during an accept
    }
  }

  async #relay(client: Deno.TcpConn): Promise<void> {
    this.#open.add(client);
    let server: Deno.TcpConn | undefined;
    try {
      server = await Deno.connect({ hostname: this.#to.host, port: this.#to.port });
      this.#open.add(server);
      for (const conn of [client, server]) conn.setNoDelay(true);
      await this.#forward(client, server);
    } catch {
      // one side has closed
    }
    this.#close(client);
    if (server) this.#close(server);
  }

  async #forward(client: Deno.TcpConn, server: Deno.TcpConn): Promise<void> {
    let [asking, cutting] = [false, false];
    const [up, down] = [this.#up, this.#down];
    const decoder = new TextDecoder("latin1");
    const requests = pieces(client, async (piece) => {
      if (!asking) this.roundTrips++;
      asking = true;
      await this.#flowing.promise;
      const fate = this.decide(decoder.decode(piece));
      if (fate === "cut") return false;
      if (fate === "hold") await this.#released.promise;
      await this.#send(server, piece, up);
      if (fate === "cut its answer") {
        cutting = true;
        await server.closeWrite(); // the server processes all requests before it sees the end
      }
      return true;
    });
    const answers = pieces(server, async (piece) => {
      asking = false;
      await this.#flowing.promise;
      if (!cutting) await this.#send(client, piece, down);
      return true;
    });
    const end = () => this.#flowing.promise.then(() => [client, server].forEach((conn) => this.#close(conn)));
    await Promise.allSettled([requests.finally(end), answers.finally(end)]);
  }

  /** Writes at the speed of a direction, in small packets that alternate with those of other connections. */
  async #send(to: Deno.TcpConn, bytes: Uint8Array, direction: Direction): Promise<void> {
    if (this.speed === Infinity) return await writeAll(to, bytes);
    for (let at = 0; at < bytes.length; at += PACKET_BYTES) {
      const packet = bytes.subarray(at, at + PACKET_BYTES);
      const now = performance.now();
      direction.free = Math.max(direction.free, now) + packet.length / this.speed * 1_000;
      await pause(direction.free - now);
      await writeAll(to, packet);
    }
  }

  #close(conn: Deno.TcpConn): void {
    if (this.#open.delete(conn)) conn.close();
  }
}

/** One direction of the link: the time by performance.now() when it has sent all its bytes. */
interface Direction {
  free: number;
}

const PIECE_BYTES = 65_536; // bytes
const PACKET_BYTES = 1_500; // bytes; a slow link sends them together

async function pieces(from: Deno.TcpConn, take: (piece: Uint8Array) => Promise<boolean>): Promise<void> {
  const buffer = new Uint8Array(PIECE_BYTES);
  for (let n; (n = await from.read(buffer)) !== null;) {
    if (!await take(buffer.subarray(0, n))) return;
  }
}

async function writeAll(to: Deno.TcpConn, bytes: Uint8Array): Promise<void> {
  for (let at = 0; at < bytes.length;) at += await to.write(bytes.subarray(at));
}
