/** The server: accepts connections for a node, watches over them, and leaves well. */
import { describe, MINUTELY, Seldom } from "../log.ts";
import { Bucket } from "./limits/rate_limiter.ts";
import { Caller } from "./sessions/client.ts";
import { classicDialect } from "./protocol/classic_dialect.ts";
import { Connection } from "./net/connection.ts";
import type { ConnectionContext } from "./net/connection_context.ts";
import { framed } from "./protocol/dialect.ts";
import { Crowd } from "./scheduling/crowd.ts";
import { Dispatcher } from "./protocol/dispatcher.ts";
import { Draining } from "./net/draining.ts";
import { restored, takenOver, vanished } from "./sessions/session_lifecycle.ts";
import { Node, type NodeParts } from "./node.ts";
import { Origins } from "./net/client_address.ts";
import type { Tls } from "./net/tls.ts";
import { watch } from "./net/idle_timeouts.ts";

const WATCH_EVERY = 1_000; // ms at the most between two looks at each connection
// looks in the shortest of the configured times, so that it is kept fairly exactly
const WATCHES_PER_TIME = 4;
const ACCEPT_PAUSE = 100; // ms after a failed accept (most often: no file descriptor left)
// Who comes and goes all the time is not to keep those busy who are there. The kernel lets the others wait in
// line.
const ARRIVALS = { perSecond: 4_000, burst: 200 };
const AT_ONCE = 4; // arrivals between two breaks: each is a fifth of a millisecond of work
const IN_VAIN = 15; // arrivals that one counts as besides who goes without having logged in or registered
const IN_VAIN_MOST = 100; // ms that the next waits for those: many may go at once, of a network that is down
const LAST_WORDS = 2_000; // ms beyond the time to drain, for clients to read what they were sent and to close
const DRAIN_EVERY = 50; // ms between two looks at each connection while it drains
// ms without a new connection before it stops listening: those in the kernel's queue are let in
const LAST_ARRIVALS = 20;
const ARRIVALS_AT_MOST = 500; // ms for that, however many come

/** A listening server. */
export class Server {
  readonly #node: Node;
  readonly #listener: Deno.Listener;
  readonly #tls: Tls | undefined;
  readonly #callers = new Map<Caller, Promise<void>>(); // each with the end of its connection
  readonly #around: ConnectionContext;
  readonly #watching: ReturnType<typeof setInterval>;
  readonly #accepting: Promise<void>;
  readonly #refusals = new Seldom();
  readonly #acceptFailures = new Seldom(MINUTELY);
  readonly #origins: Origins;
  readonly #arrivals = new Bucket(ARRIVALS);
  #lastArrival = -Infinity; // by performance.now
  #listening = true;
  #draining = false;

  private constructor(node: Node, listener: Deno.Listener, tls: Tls | undefined) {
    this.#node = node;
    this.#listener = listener;
    this.#tls = tls;
    const { config } = node;
    this.#origins = new Origins(node.log, config);
    const classic = classicDialect(config.classicBytes, config.classicWriteInterval);
    this.#around = {
      dialect: (isClassic) => isClassic ? classic : framed,
      maxFrame: config.maxFrame,
      maxInFlight: config.maxInFlight,
      writeBufferBytes: config.writeBufferBytes,
      breaks: node.breaks,
      lane: node.lane,
      crowd: new Crowd(node.breaks),
      patience: config.pingInterval + config.pongTimeout, // as long as for one that takes nothing
    };
    const shortest = Math.min(
      config.loginTimeout,
      config.proxyHeaderTimeout,
      config.pingInterval,
      config.pongTimeout,
    );
    this.#watching = setInterval(() => this.#watch(), Math.min(WATCH_EVERY, shortest / WATCHES_PER_TIME));
    this.#accepting = this.#accept();
  }

  /**
   * Starts to listen at the node's host and port. Throws what `Deno.listen` throws, or an Error of one line
   * if the certificate isn't right.
   */
  static async start(parts: NodeParts): Promise<Server> {
    const { host: hostname, port, workers, tlsCert } = parts.config;
    const tls = tlsCert ? new (await import("./net/tls.ts")).Tls(parts.config, parts.log) : undefined;
    const node = new Node(parts, {
      takenOver: (session) => takenOver(node, session),
      restored: (session) => restored(node, session),
      vanished: (session) => vanished(node, session),
    });
    await node.open();
    let listener: Deno.Listener;
    try {
      listener = Deno.listen({ hostname, port, reusePort: workers > 1 });
    } catch (error) {
      await node.close();
      throw error;
    }
    return new Server(node, listener, tls);
  }

  /** Where it listens. */
  get address(): Deno.NetAddr {
    return this.#listener.addr as Deno.NetAddr;
  }

  /** As {@link Epoch.moved} is. */
  get moved(): Promise<Error> {
    return this.#node.epoch.moved;
  }

  /** Reads the certificate again, for connections from now on; see {@link Tls.reload}. */
  reload(): void {
    this.#tls?.reload();
  }

  /**
   * Leaves: accepts nobody more, asks the clients to move and serves them until then, and closes, all of it
   * `within` that many milliseconds. The store and the bus stay open: they are the caller's.
   */
  async drain(within: number = this.#node.config.drainTimeout): Promise<void> {
    if (this.#draining) return;
    this.#draining = true;
    const { log, config } = this.#node;
    log.info("draining", { connections: this.#callers.size });
    await this.#lastArrivals(Math.min(ARRIVALS_AT_MOST, within));
    this.#listening = false;
    this.#listener.close();
    await this.#accepting;
    const draining = new Draining(this.#callers.size * config.workers, within, performance.now());
    const look = () => {
      const now = performance.now();
      for (const caller of this.#callers.keys()) draining.look(caller, now);
    };
    look();
    const looking = setInterval(look, DRAIN_EVERY);
    const late = setTimeout(() => this.#abortAll(), within + LAST_WORDS);
    await Promise.all(this.#callers.values());
    clearTimeout(late);
    clearInterval(looking);
    clearInterval(this.#watching);
    await this.#node.close();
  }

  /** To close the listener resets the connections that wait to be accepted: so not while some do. */
  async #lastArrivals(atMost: number): Promise<void> {
    const end = performance.now() + atMost;
    let last = Infinity;
    while (performance.now() < end && last !== this.#lastArrival) {
      last = this.#lastArrival;
      await pause(LAST_ARRIVALS);
      await this.#node.breaks.next(); // a busy server's timer is over before its sockets have been looked at
    }
  }

  #abortAll(): void {
    for (const { connection } of this.#callers.keys()) connection.abort();
  }

  async #accept(): Promise<void> {
    const { log, config } = this.#node;
    for (let count = 1; this.#listening; count++) {
      try {
        const socket = await this.#listener.accept() as Deno.TcpConn;
        this.#lastArrival = performance.now();
        const wait = this.#arrivals.take(1, this.#lastArrival);
        if (this.#callers.size < config.maxConnections) this.#serve(socket);
        else {
          socket.close();
          this.#refusals.say((count) =>
            log.warn("too many connections", { most: config.maxConnections, count })
          );
        }
        if (wait > 0) {
          this.#arrivals.draw(1); // it is let in, but the next has to wait
          await pause(wait);
        } else if (count % AT_ONCE === 0) await this.#node.breaks.next();
      } catch (error) {
        if (!this.#listening) return;
        this.#acceptFailures.say((count) => log.error("accept failed", { error: describe(error), count }));
        await pause(ACCEPT_PAUSE);
      }
    }
  }

  #serve(socket: Deno.TcpConn): void {
    let caller: Caller | undefined;
    try {
      socket.setNoDelay(true); // messages are small and each is waited for
      socket.setKeepAlive(true); // finds classic peers that are gone: they can't be sent a PING
      const origin = this.#origins.of(socket.remoteAddr as Deno.NetAddr);
      const serve = (connection: Connection) => {
        caller = new Caller(this.#node, connection, origin);
        return new Dispatcher(caller);
      };
      // What a proxy says stands in front of everything, and so isn't encrypted.
      const connection = this.#tls
        ? new Connection(this.#tls.over(socket, origin), this.#around, serve)
        : new Connection(socket, this.#around, serve, origin);
      this.#callers.set(caller!, connection.run().then(() => this.#ended(caller!)));
    } catch (error) {
      this.#node.log.debug("connection lost", { why: describe(error) });
      try {
        socket.close();
      } catch {
        // the runtime had closed it
      }
    }
  }

  #ended(caller: Caller): void {
    this.#callers.delete(caller);
    caller.gone();
    if (caller.cameInVain && this.#arrivals.lacks(IN_VAIN, performance.now()) < IN_VAIN_MOST) {
      this.#arrivals.draw(IN_VAIN);
    }
  }

  #watch(): void {
    const now = performance.now();
    for (const caller of this.#callers.keys()) watch(caller, now, this.#node.config);
  }
}

function pause(ms: number): Promise<void> {
  return new Promise((resolve) => setTimeout(resolve, ms));
}
