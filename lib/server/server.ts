/** The server: accepts the connections of a node, checks their timeouts, and drains them at the end. */
import { describeError, LogThrottle, MINUTE_MS } from "../log.ts";
import { sleep } from "../sleep.ts";
import { TokenBucket } from "./limits/token_bucket.ts";
import { Client } from "./sessions/client.ts";
import { classicDialect } from "./protocol/classic_dialect.ts";
import { Connection } from "./net/connection.ts";
import type { ConnectionContext } from "./net/connection_context.ts";
import { framedDialect } from "./protocol/dialect.ts";
import { HANDSHAKE } from "./scheduling/classes.ts";
import { WorkQueue } from "./scheduling/work_queue.ts";
import { requestTable } from "./handlers/request_table.ts";
import { Draining } from "./sessions/draining.ts";
import { terminateSession } from "./sessions/session_lifecycle.ts";
import { Node, type NodeDeps } from "./node.ts";
import { ClientAddresses } from "./net/client_address.ts";
import type { Tls } from "./net/tls.ts";
import { checkAllTimeouts } from "./sessions/idle_timeouts.ts";

const TIMEOUT_CHECK_INTERVAL_MS = 1_000; // upper bound; a shorter timeout is checked more often
const CHECKS_PER_TIMEOUT = 4; // within the shortest timeout, so that it is observed fairly exactly
const ACCEPT_RETRY_MS = 100; // after a failed accept (most often: no file descriptor is left)
// Clients that connect and close all the time must not slow down the others. The kernel queues the excess.
const ACCEPT_RATE = { perSecond: 4_000, burst: 200 };
const BATCH_SIZE = 4; // connections accepted between two yields: each takes a fifth of a millisecond
const ABANDONED_PENALTY = 15; // further accepts that a connection counts as if it never authenticated
const MAX_PENALTY_MS = 100; // of such penalties: many connections may close at once when a network fails
const CLOSE_TIMEOUT_MS = 2_000; // after the drain timeout, for clients to read the last messages and to close
const DRAIN_CHECK_INTERVAL_MS = 50; // between two checks of each connection while the server drains
const BACKLOG_QUIET_MS = 20; // without a new connection: the kernel's queue is empty, and listening may end
const MAX_BACKLOG_DRAIN_MS = 500; // for that, however many connections come

/** A listening server. */
export class Server {
  readonly #node: Node;
  readonly #listener: Deno.Listener;
  readonly #tls: Tls | undefined;
  readonly #clients = new Set<Client>();
  readonly #context: ConnectionContext;
  readonly #timeoutTimer: ReturnType<typeof setInterval>;
  readonly #accepting: Promise<void>;
  readonly #tooManyLog = new LogThrottle();
  readonly #acceptFailureLog = new LogThrottle(MINUTE_MS);
  readonly #clientAddresses: ClientAddresses;
  readonly #acceptBucket = new TokenBucket(ACCEPT_RATE);
  #lastAcceptAt = -Infinity; // by performance.now
  #isListening = true;
  #isCheckingTimeouts = false;
  #isDraining = false;
  #onLastClosed = () => {}; // called when no client is left

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
      handshakeQueue: new WorkQueue(node.eventLoop, HANDSHAKE),
      closeTimeoutMs: config.pingInterval + config.pongTimeout, // as for a client that does not answer a PING
    };
    const shortest = Math.min(
      config.loginTimeout,
      config.proxyHeaderTimeout,
      config.pingInterval,
      config.pongTimeout,
    );
    this.#timeoutTimer = setInterval(
      () => void this.#checkTimeouts(),
      Math.min(TIMEOUT_CHECK_INTERVAL_MS, shortest / CHECKS_PER_TIMEOUT),
    );
    this.#accepting = this.#accept();
  }

  /**
   * Starts to listen at the node's host and port. Rejects with the error of `Deno.listen`, or with an Error of
   * one line if the certificate is not valid.
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

  /** The address on which it listens. */
  get address(): Deno.NetAddr {
    return this.#listener.addr as Deno.NetAddr;
  }

  /** See {@link StoreEpoch.deploymentChanged}. */
  get deploymentChanged(): Promise<Error> {
    return this.#node.storeEpoch.deploymentChanged;
  }

  /** Reads the certificate again, for new connections; see {@link Tls.reload}. */
  reload(): void {
    this.#tls?.reload();
  }

  /**
   * Stops accepting connections, asks the clients to reconnect elsewhere, serves them until then, and closes
   * the node, all within `timeoutMs` milliseconds. The store and the bus stay open: the caller owns them.
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
      for (const client of this.#clients) draining.check(client, now);
    };
    check();
    const checkTimer = setInterval(check, DRAIN_CHECK_INTERVAL_MS);
    const abortTimer = setTimeout(() => this.#abortAll(), timeoutMs + CLOSE_TIMEOUT_MS);
    if (this.#clients.size > 0) await new Promise<void>((resolve) => this.#onLastClosed = resolve);
    clearTimeout(abortTimer);
    clearInterval(checkTimer);
    clearInterval(this.#timeoutTimer);
    await this.#node.close();
  }

  /** Waits until no connection is in the kernel's queue: closing the listener would reset it. */
  async #drainBacklog(maxMs: number): Promise<void> {
    const end = performance.now() + maxMs;
    let last = Infinity;
    while (performance.now() < end && last !== this.#lastAcceptAt) {
      last = this.#lastAcceptAt;
      await sleep(BACKLOG_QUIET_MS);
      await this.#node.eventLoop.yieldToIo(); // in a busy process a timer may end before the sockets are polled
    }
  }

  #abortAll(): void {
    for (const { connection } of this.#clients) connection.abort();
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
            log.warn("too many connections", { max: config.maxConnections, count })
          );
        }
        if (wait > 0) {
          this.#acceptBucket.consume(1); // on credit: the next one waits
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
      socket.setNoDelay(true); // messages are small, and each is awaited
      socket.setKeepAlive(true); // finds lost classic clients, which know no PING
      const address = this.#clientAddresses.resolve(socket.remoteAddr as Deno.NetAddr);
      const serve = (connection: Connection) =>
        client = new Client(this.#node, connection, address, requestTable, this.#onClosed);
      // The header of a proxy comes before the TLS handshake.
      const connection = this.#tls
        ? new Connection(this.#tls.wrap(socket, address), this.#context, serve)
        : new Connection(socket, this.#context, serve, address);
      this.#clients.add(client!);
      void connection.run();
    } catch (error) {
      this.#node.log.debug("connection lost", { error: describeError(error) });
      try {
        socket.close();
      } catch {
        // the runtime had closed it
      }
    }
  }

  /** One function for all clients: a promise and a closure for each would take 240 bytes. */
  readonly #onClosed = (client: Client): void => {
    this.#clients.delete(client);
    if (this.#clients.size === 0) this.#onLastClosed();
    if (
      client.neverAuthenticated &&
      this.#acceptBucket.timeUntil(ABANDONED_PENALTY, performance.now()) < MAX_PENALTY_MS
    ) {
      this.#acceptBucket.consume(ABANDONED_PENALTY);
    }
  };

  async #checkTimeouts(): Promise<void> {
    if (this.#isCheckingTimeouts) return; // the node is busy
    this.#isCheckingTimeouts = true;
    await checkAllTimeouts(this.#clients, this.#node.config, this.#node.eventLoop);
    this.#isCheckingTimeouts = false;
  }
}
