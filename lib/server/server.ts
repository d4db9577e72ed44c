/** The server: accepts connections for a node, watches over them, and leaves well. */
import { describeError, LogThrottle, MINUTE_MS } from "../log.ts";
import { sleep } from "../sleep.ts";
import { TokenBucket } from "./limits/rate_limiter.ts";
import { Client } from "./sessions/client.ts";
import { classicDialect } from "./protocol/classic_dialect.ts";
import { Connection } from "./net/connection.ts";
import type { ConnectionContext } from "./net/connection_context.ts";
import { framedDialect } from "./protocol/dialect.ts";
import { Crowd } from "./scheduling/crowd.ts";
import { Dispatcher } from "./protocol/dispatcher.ts";
import { Draining } from "./sessions/draining.ts";
import { terminateSession } from "./sessions/session_lifecycle.ts";
import { Node, type NodeDeps } from "./node.ts";
import { ClientAddresses } from "./net/client_address.ts";
import type { Tls } from "./net/tls.ts";
import { checkTimeouts } from "./sessions/idle_timeouts.ts";

const TIMEOUT_CHECK_INTERVAL_MS = 1_000; // ms at the most between two looks at each connection
// looks in the shortest of the configured times, so that it is kept fairly exactly
const CHECKS_PER_TIMEOUT = 4;
const ACCEPT_RETRY_MS = 100; // ms after a failed accept (most often: no file descriptor left)
// Who comes and goes all the time is not to keep those busy who are there. The kernel lets the others wait in
// line.
const ACCEPT_RATE = { perSecond: 4_000, burst: 200 };
const BATCH_SIZE = 4; // arrivals between two breaks: each is a fifth of a millisecond of work
const ABANDONED_PENALTY = 15; // arrivals that one counts as besides who goes without having logged in or registered
const MAX_PENALTY_MS = 100; // ms that the next waits for those: many may go at once, of a network that is down
const CLOSE_TIMEOUT_MS = 2_000; // ms beyond the time to drain, for clients to read what they were sent and to close
const DRAIN_CHECK_INTERVAL_MS = 50; // ms between two looks at each connection while it drains
// ms without a new connection before it stops listening: those in the kernel's queue are let in
const BACKLOG_QUIET_MS = 20;
const MAX_BACKLOG_DRAIN_MS = 500; // ms for that, however many come

/** A listening server. */
export class Server {
  readonly #node: Node;
  readonly #listener: Deno.Listener;
  readonly #tls: Tls | undefined;
  readonly #clients = new Map<Client, Promise<void>>(); // each with the end of its connection
  readonly #context: ConnectionContext;
  readonly #timeoutTimer: ReturnType<typeof setInterval>;
  readonly #accepting: Promise<void>;
  readonly #tooManyLog = new LogThrottle();
  readonly #acceptFailureLog = new LogThrottle(MINUTE_MS);
  readonly #clientAddresses: ClientAddresses;
  readonly #acceptBucket = new TokenBucket(ACCEPT_RATE);
  #lastAcceptAt = -Infinity; // by performance.now
  #isListening = true;
  #isDraining = false;

  private constructor(node: Node, listener: Deno.Listener, tls: Tls | undefined) {
    this.#node = node;
    this.#listener = listener;
    this.#tls = tls;
    const { config } = node;
    this.#clientAddresses = new ClientAddresses(node.log, config);
    const classic = classicDialect(config.classicBytes, config.classicWriteInterval);
    this.#context = {
      dialect: (isClassic) => isClassic ? classic : framedDialect,
      maxFrameBytes: config.maxFrame,
      maxInFlight: config.maxInFlight,
      writeBufferBytes: config.writeBufferBytes,
      eventLoop: node.eventLoop,
      bulkQueue: node.bulkQueue,
      handshakeQueue: new Crowd(node.eventLoop),
      closeTimeoutMs: config.pingInterval + config.pongTimeout, // as long as for one that takes nothing
    };
    const shortest = Math.min(
      config.loginTimeout,
      config.proxyHeaderTimeout,
      config.pingInterval,
      config.pongTimeout,
    );
    this.#timeoutTimer = setInterval(
      () => this.#checkTimeouts(),
      Math.min(TIMEOUT_CHECK_INTERVAL_MS, shortest / CHECKS_PER_TIMEOUT),
    );
    this.#accepting = this.#accept();
  }

  /**
   * Starts to listen at the node's host and port. Throws what `Deno.listen` throws, or an Error of one line
   * if the certificate isn't right.
   */
  static async start(deps: NodeDeps): Promise<Server> {
    const { host: hostname, port, workers, tlsCert } = deps.config;
    const tls = tlsCert ? new (await import("./net/tls.ts")).Tls(deps.config, deps.log) : undefined;
    const node: Node = new Node(deps, (...end) => terminateSession(node, ...end));
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
  get deploymentChanged(): Promise<Error> {
    return this.#node.storeEpoch.deploymentChanged;
  }

  /** Reads the certificate again, for connections from now on; see {@link Tls.reload}. */
  reload(): void {
    this.#tls?.reload();
  }

  /**
   * Leaves: accepts nobody more, asks the clients to move and serves them until then, and closes, all of it
   * `within` that many milliseconds. The store and the bus stay open: they are the caller's.
   */
  async drain(timeoutMs: number = this.#node.config.drainTimeout): Promise<void> {
    if (this.#isDraining) return;
    this.#isDraining = true;
    const { log, config } = this.#node;
    log.info("draining", { connections: this.#clients.size });
    await this.#drainBacklog(Math.min(MAX_BACKLOG_DRAIN_MS, timeoutMs));
    this.#isListening = false;
    this.#listener.close();
    await this.#accepting;
    const draining = new Draining(this.#clients.size * config.workers, timeoutMs, performance.now());
    const check = () => {
      const now = performance.now();
      for (const client of this.#clients.keys()) draining.check(client, now);
    };
    check();
    const checkTimer = setInterval(check, DRAIN_CHECK_INTERVAL_MS);
    const abortTimer = setTimeout(() => this.#abortAll(), timeoutMs + CLOSE_TIMEOUT_MS);
    await Promise.all(this.#clients.values());
    clearTimeout(abortTimer);
    clearInterval(checkTimer);
    clearInterval(this.#timeoutTimer);
    await this.#node.close();
  }

  /** To close the listener resets the connections that wait to be accepted: so not while some do. */
  async #drainBacklog(maxMs: number): Promise<void> {
    const end = performance.now() + maxMs;
    let last = Infinity;
    while (performance.now() < end && last !== this.#lastAcceptAt) {
      last = this.#lastAcceptAt;
      await sleep(BACKLOG_QUIET_MS);
      await this.#node.eventLoop.yieldToIo(); // a busy server's timer is over before its sockets have been looked at
    }
  }

  #abortAll(): void {
    for (const { connection } of this.#clients.keys()) connection.abort();
  }

  async #accept(): Promise<void> {
    const { log, config } = this.#node;
    for (let count = 1; this.#isListening; count++) {
      try {
        const socket = await this.#listener.accept() as Deno.TcpConn;
        this.#lastAcceptAt = performance.now();
        const wait = this.#acceptBucket.tryConsume(1, this.#lastAcceptAt);
        if (this.#clients.size < config.maxConnections) this.#serve(socket);
        else {
          socket.close();
          this.#tooManyLog.log((count) =>
            log.warn("too many connections", { most: config.maxConnections, count })
          );
        }
        if (wait > 0) {
          this.#acceptBucket.consume(1); // it is let in, but the next has to wait
          await sleep(wait);
        } else if (count % BATCH_SIZE === 0) await this.#node.eventLoop.yieldToIo();
      } catch (error) {
        if (!this.#isListening) return;
        this.#acceptFailureLog.log((count) =>
          log.error("accept failed", { error: describeError(error), count })
        );
        await sleep(ACCEPT_RETRY_MS);
      }
    }
  }

  #serve(socket: Deno.TcpConn): void {
    let client: Client | undefined;
    try {
      socket.setNoDelay(true); // messages are small and each is waited for
      socket.setKeepAlive(true); // finds classic peers that are gone: they can't be sent a PING
      const address = this.#clientAddresses.resolve(socket.remoteAddr as Deno.NetAddr);
      const serve = (connection: Connection) => {
        client = new Client(this.#node, connection, address);
        return new Dispatcher(client);
      };
      // What a proxy says stands in front of everything, and so isn't encrypted.
      const connection = this.#tls
        ? new Connection(this.#tls.wrap(socket, address), this.#context, serve)
        : new Connection(socket, this.#context, serve, address);
      this.#clients.set(client!, connection.run().then(() => this.#onEnd(client!)));
    } catch (error) {
      this.#node.log.debug("connection lost", { why: describeError(error) });
      try {
        socket.close();
      } catch {
        // the runtime had closed it
      }
    }
  }

  #onEnd(client: Client): void {
    this.#clients.delete(client);
    client.dispose();
    if (
      client.neverAuthenticated &&
      this.#acceptBucket.timeUntil(ABANDONED_PENALTY, performance.now()) < MAX_PENALTY_MS
    ) {
      this.#acceptBucket.consume(ABANDONED_PENALTY);
    }
  }

  #checkTimeouts(): void {
    const now = performance.now();
    for (const client of this.#clients.keys()) checkTimeouts(client, now, this.#node.config);
  }
}
