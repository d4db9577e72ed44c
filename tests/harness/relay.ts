/** A stand-in for the network between a client and a server: it counts what goes through, and cuts when it is told to. */
import type { Address } from "./server.ts";
import { pause } from "./wait.ts";

/**
 * What becomes of a request: it passes; or the connection is cut before the server sees it, or after the server has
 * answered it and before the client sees that; or the connection carries nothing more until it is released, whatever
 * the client does.
 */
export type Fate = "pass" | "cut" | "cut its answer" | "hold";

/** Forwards connections to a server. Dispose of it when done. */
export class Relay implements Address, AsyncDisposable {
  readonly host = "127.0.0.1";
  readonly port: number;
  /** Times that a client has sent something and waited for the answer. */
  roundTrips = 0;
  /** Decides about what clients send, as it comes: a long request comes in pieces. */
  decide: (piece: string) => Fate = () => "pass";
  /** Bytes per second that go through to the server, those of all connections together; and as many back. */
  speed = Infinity;
  readonly #listener: Deno.TcpListener;
  readonly #to: Address;
  readonly #open = new Set<Deno.TcpConn>();
  readonly #work: Promise<void>[] = [];
  readonly #up = { free: 0 };
  readonly #down = { free: 0 };
  readonly #released = Promise.withResolvers<void>();
  #flowing = Promise.withResolvers<void>();

  /** Forwards to this server. */
  constructor(to: Address) {
    this.#to = to;
    this.#listener = Deno.listen({ hostname: this.host, port: 0 });
    this.port = this.#listener.addr.port;
    this.#flowing.resolve();
    this.#work.push(this.#accept());
  }

  /** Nothing goes through from now on, not even the end of a connection: as when a cable is pulled. */
  freeze(): void {
    this.#flowing = Promise.withResolvers();
  }

  /** What was held up goes through. */
  thaw(): void {
    this.#flowing.resolve();
  }

  /** What is held goes on. */
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
      // it was closed while a connection came
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
      // one of the two has gone
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
        await server.closeWrite(); // the server does all that it was asked for before it sees that
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

  /** Writes as fast as the speed allows in a direction, in small packets that those of other connections come between. */
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

/** One of the link's two directions: when it has sent all that it has been given, in performance.now()'s time. */
interface Direction {
  free: number;
}

const PIECE_BYTES = 65_536; // bytes
const PACKET_BYTES = 1_500; // bytes that a slow link sends at once

async function pieces(from: Deno.TcpConn, take: (piece: Uint8Array) => Promise<boolean>): Promise<void> {
  const buffer = new Uint8Array(PIECE_BYTES);
  for (let n; (n = await from.read(buffer)) !== null;) {
    if (!await take(buffer.subarray(0, n))) return;
  }
}

async function writeAll(to: Deno.TcpConn, bytes: Uint8Array): Promise<void> {
  for (let at = 0; at < bytes.length;) at += await to.write(bytes.subarray(at));
}
