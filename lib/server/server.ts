/** The server: accepts connections for a node, watches over them, and leaves well. */
import { describe, Seldom } from "../log.ts";
import { Msg } from "../wire/protocol.ts";
import { Caller } from "./caller.ts";
import { classicDialect } from "./classic_dialect.ts";
import { Connection, type Surroundings } from "./connection.ts";
import { framed } from "./dialect.ts";
import { Dispatcher } from "./dispatcher.ts";
import { takenOver } from "./entrance.ts";
import { Node, type NodeParts } from "./node.ts";
import { Origins } from "./origin.ts";
import { watch } from "./watch.ts";

const WATCH_EVERY = 1_000; // ms at the most between two looks at each connection
const WATCHES_PER_TIME = 4; // looks in the shortest of the configured times, so that it is kept fairly exactly
const ACCEPT_PAUSE = 100; // ms after a failed accept (most often: no file descriptor left)
const LAST_WORDS = 2_000; // ms beyond the time to drain, for clients to read what they were sent and to close
const MOVE_SPREAD = 0.5; // ms per connection over which clients are asked to spread their return
const MOVE_LEAST = 500; // ms; the base of that

/** A listening server. */
export class Server {
  readonly #node: Node;
  readonly #listener: Deno.Listener;
  readonly #callers = new Map<Caller, Promise<void>>(); // each with the end of its connection
  readonly #around: Surroundings;
  readonly #watching: ReturnType<typeof setInterval>;
  readonly #accepting: Promise<void>;
  readonly #refusals = new Seldom();
  readonly #origins: Origins;
  #draining = false;

  private constructor(node: Node, listener: Deno.Listener) {
    this.#node = node;
    this.#listener = listener;
    const { config } = node;
    this.#origins = new Origins(node.log, config.trustedProxies);
    const classic = classicDialect(config.classicBytes, config.classicGap);
    this.#around = {
      dialect: (isClassic) => isClassic ? classic : framed,
      maxFrame: config.maxFrame,
      maxPending: config.maxPending,
      outboxBytes: config.outboxBytes,
      patience: config.pingAfter + config.pongWithin, // as long as for one that takes nothing
    };
    const shortest = Math.min(config.loginWithin, config.pingAfter, config.pongWithin);
    this.#watching = setInterval(() => this.#watch(), Math.min(WATCH_EVERY, shortest / WATCHES_PER_TIME));
    this.#accepting = this.#accept();
  }

  /** Starts to listen at the node's host and port. Throws what `Deno.listen` throws. */
  static async start(parts: NodeParts): Promise<Server> {
    const { host: hostname, port, workers } = parts.config;
    const node = new Node(parts, (session) => takenOver(node, session));
    await node.open();
    let listener: Deno.Listener;
    try {
      listener = Deno.listen({ hostname, port, reusePort: workers > 1 });
    } catch (error) {
      await node.close();
      throw error;
    }
    return new Server(node, listener);
  }

  /** Where it listens. */
  get address(): Deno.NetAddr {
    return this.#listener.addr as Deno.NetAddr;
  }

  /**
   * Leaves: accepts nobody more, asks the clients to move, carries out what is under way for at most the configured
   * time, and closes. The store and the bus stay open: they are the caller's.
   */
  async drain(): Promise<void> {
    if (this.#draining) return;
    this.#draining = true;
    this.#listener.close();
    await this.#accepting;
    clearInterval(this.#watching);
    const { log, config } = this.#node;
    log.info("draining", { connections: this.#callers.size });
    const spread = MOVE_LEAST + MOVE_SPREAD * this.#callers.size;
    const ends = [...this.#callers].map(([{ connection }, ended]) => {
      connection.send({
        msgid: Msg.NOTICE,
        kind: "draining",
        retry_after: Math.round(MOVE_LEAST + Math.random() * spread),
        errmsg: "the server is shutting down",
      });
      void connection.end(undefined, config.drainWithin);
      return ended;
    });
    const late = setTimeout(() => this.#abortAll(), config.drainWithin + LAST_WORDS);
    await Promise.all(ends);
    clearTimeout(late);
    await this.#node.close();
  }

  #abortAll(): void {
    for (const { connection } of this.#callers.keys()) connection.abort();
  }

  async #accept(): Promise<void> {
    const { log, config } = this.#node;
    while (!this.#draining) {
      try {
        const socket = await this.#listener.accept() as Deno.TcpConn;
        if (this.#callers.size < config.maxConnections) this.#serve(socket);
        else {
          socket.close();
          this.#refusals.say((times) =>
            log.warn("too many connections", { most: config.maxConnections, times })
          );
        }
      } catch (error) {
        if (this.#draining) return;
        log.error("accept failed", { why: describe(error) });
        await new Promise((resolve) => setTimeout(resolve, ACCEPT_PAUSE));
      }
    }
  }

  #serve(socket: Deno.TcpConn): void {
    let caller: Caller | undefined;
    try {
      socket.setNoDelay(true); // messages are small and each is waited for
      socket.setKeepAlive(true); // finds classic peers that are gone: they can't be sent a PING
      const origin = this.#origins.of(socket.remoteAddr as Deno.NetAddr);
      const connection = new Connection(socket, this.#around, (connection) => {
        caller = new Caller(this.#node, connection, origin);
        return new Dispatcher(caller);
      }, origin);
      this.#callers.set(caller!, connection.run().finally(() => this.#callers.delete(caller!)));
    } catch (error) {
      this.#node.log.debug("connection lost", { why: describe(error) });
      try {
        socket.close();
      } catch {
        // the runtime had closed it
      }
    }
  }

  #watch(): void {
    const now = performance.now();
    for (const caller of this.#callers.keys()) watch(caller, now, this.#node.config);
  }
}
