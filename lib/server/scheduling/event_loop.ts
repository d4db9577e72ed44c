/**
 * Breaks between two pieces of work, in which all other work that is ready runs.
 *
 * `setImmediate` gives others a turn, but not those whose bytes have only just come: while some of it is due,
 * the runtime looks at its sockets after every 61st turn only (tokio's event interval; pieces of a
 * millisecond made an echo take 56 ms in place of 1). What waits for a socket of its own can't go on before
 * all of them have been looked at.
 */
import { setImmediate } from "node:timers";

/** Milliseconds without a look at the sockets that do no harm: a look costs 20 microseconds. */
const MIN_POLL_INTERVAL_MS = 1;

const LOOPBACK = "127.0.0.1";
const BYTE = new Uint8Array(1);

/** Breaks as they are needed. Open it for them to be short; without that they last a millisecond or two. */
export class EventLoop implements Disposable {
  #pipe: readonly [into: Deno.TcpConn, from: Deno.TcpConn] | undefined; // to itself
  #pendingYield: Promise<void> | undefined;
  #lastPoll = -Infinity; // when the sockets were, by performance.now

  /** Connects to itself. Rejects with what the system says if that can't be; it goes by a timer then. */
  async open(): Promise<void> {
    this.#pipe = await connectToSelf();
  }

  /** Resolves after the next break, which is one for all who ask meanwhile. */
  yieldToIo(): Promise<void> {
    return this.#pendingYield ??= this.#yield();
  }

  /** Closes its connection; callers that wait go on soon. */
  [Symbol.dispose](): void {
    for (const end of this.#pipe ?? []) end.close();
    this.#pipe = undefined;
  }

  async #yield(): Promise<void> {
    try {
      if (performance.now() - this.#lastPoll < MIN_POLL_INTERVAL_MS) {
        await new Promise<void>((resolve) => setImmediate(resolve));
      } else await this.#pollSockets();
    } catch {
      this[Symbol.dispose](); // it was closed, by us or by another program
    }
    this.#pendingYield = undefined;
  }

  async #pollSockets(): Promise<void> {
    if (this.#pipe) await roundTrip(this.#pipe);
    else await new Promise((resolve) => setTimeout(resolve));
    this.#lastPoll = performance.now();
  }
}

async function roundTrip([into, from]: readonly [Deno.TcpConn, Deno.TcpConn]): Promise<void> {
  const [, read] = await Promise.all([into.write(BYTE), from.read(new Uint8Array(BYTE.length + 1))]);
  if (read === null) throw new Error("the other end is closed");
}

/** Two ends of a connection. */
async function connectToSelf(): Promise<readonly [Deno.TcpConn, Deno.TcpConn]> {
  using listener = Deno.listen({ hostname: LOOPBACK, port: 0 });
  const into = await Deno.connect({ hostname: LOOPBACK, port: listener.addr.port });
  into.setNoDelay(true);
  for (;;) {
    const from = await listener.accept();
    if (from.remoteAddr.port === into.localAddr.port) return [into, from];
    from.close(); // another program was quicker
  }
}
