/**
 * Yields to pending I/O, so that other sockets and timers are served during long work.
 *
 * `setImmediate` alone does not yield to sockets: while an immediate is pending, the runtime polls its
 * sockets only in every 61st iteration (tokio's event interval). With 1 ms of work per iteration, an echo
 * took 56 ms in place of 1 ms. A byte that comes back over a connection to itself (a self-pipe) proves that
 * the sockets were polled.
 */
import { setImmediate } from "node:timers";
import { sleep } from "../../sleep.ts";

/** Least milliseconds between a poll and the next yield that polls again: a poll costs about 0.02 ms. */
const MIN_POLL_INTERVAL_MS = 1;

/**
 * Upper bound of the milliseconds of a poll in which hardly any other work ran. The round trip over the
 * self-pipe alone takes 0.01 to 0.07 ms (measured, 99 of 100), and the rest is time for about ten small requests.
 */
const IDLE_YIELD_MS = 0.3;

const LOOPBACK = "127.0.0.1";
const BYTE = new Uint8Array(1);

/**
 * The event loop of one node. Without {@link EventLoop.open}, each poll waits for a timer of 1 ms or more.
 */
export class EventLoop implements Disposable {
  #pipe: readonly [into: Deno.TcpConn, from: Deno.TcpConn] | undefined; // to itself
  #pendingYield: Promise<void> | undefined;
  #pendingPoll: Promise<boolean> | undefined;
  #lastPoll = -Infinity; // by performance.now

  /** Opens the self-pipe. Rejects with the system's error if that fails; a timer replaces the pipe then. */
  async open(): Promise<void> {
    this.#pipe = await connectToSelf();
  }

  /** Resolves when other work that was ready has run. Callers at the same time share one yield. */
  yieldToIo(): Promise<void> {
    return this.#pendingYield ??= this.#yield();
  }

  /**
   * Polls the sockets, and resolves when other work that was ready has run. Callers at the same time share
   * one poll. Resolves to whether the loop was idle: no other work ran. Without the self-pipe that is
   * unknown, and the result is false.
   */
  pollIo(): Promise<boolean> {
    return this.#pendingPoll ??= this.#poll();
  }

  /** Closes the self-pipe; pending yields resolve soon. */
  [Symbol.dispose](): void {
    for (const end of this.#pipe ?? []) end.close();
    this.#pipe = undefined;
  }

  async #yield(): Promise<void> {
    if (performance.now() - this.#lastPoll >= MIN_POLL_INTERVAL_MS) await this.pollIo();
    else await new Promise<void>((resolve) => setImmediate(resolve));
    this.#pendingYield = undefined;
  }

  async #poll(): Promise<boolean> {
    const startedAt = performance.now();
    try {
      if (this.#pipe) await roundTrip(this.#pipe);
      else await sleep(0);
    } catch {
      this[Symbol.dispose](); // the node or another program closed the pipe
    }
    this.#lastPoll = performance.now();
    this.#pendingPoll = undefined;
    return this.#pipe !== undefined && this.#lastPoll - startedAt < IDLE_YIELD_MS;
  }
}

async function roundTrip([into, from]: readonly [Deno.TcpConn, Deno.TcpConn]): Promise<void> {
  const [, read] = await Promise.all([into.write(BYTE), from.read(new Uint8Array(BYTE.length + 1))]);
  if (read === null) throw new Error("the other end of the self-pipe is closed");
}

/** Returns the two ends of a connection. */
async function connectToSelf(): Promise<readonly [Deno.TcpConn, Deno.TcpConn]> {
  using listener = Deno.listen({ hostname: LOOPBACK, port: 0 });
  const into = await Deno.connect({ hostname: LOOPBACK, port: listener.addr.port });
  into.setNoDelay(true);
  for (;;) {
    const from = await listener.accept();
    if (from.remoteAddr.port === into.localAddr.port) return [into, from];
    from.close(); // another program connected first
  }
}
