/** A pool of connections to the database. */
import { sleep } from "../../sleep.ts";
import type { MysqlAddress } from "./address.ts";
import { DatabaseError, UnsafeServerError } from "./errors.ts";
import type { Fence } from "./fence.ts";
import { MAX_IDLE_MS, MysqlConnection, type QueryResult } from "./mysql_connection.ts";
import type { Sql } from "./sql.ts";

/** Callers that may wait for a connection. A connection is free again within milliseconds. */
const MAX_WAITING = 10_000;

/** Milliseconds that a caller waits for a connection. */
const ACQUIRE_TIMEOUT_MS = 10_000;

/** Milliseconds for which a transaction is retried after conflicts. */
export const MAX_RETRY_MS = 10_000;

/**
 * The longest pause before a retry, in milliseconds: about the duration of a commit, so that the other
 * transaction ends.
 */
const MAX_RETRY_DELAY_MS = 20;

/** A caller that waits for a connection. */
interface Waiter {
  resolve(connection: MysqlConnection): void;
  reject(error: Error): void;
}

/** A bounded number of connections. Each is opened on demand, and replaced when it is lost. */
export class Pool {
  readonly #address: MysqlAddress;
  readonly #size: number;
  readonly #fence: Fence | undefined;
  readonly #idle: MysqlConnection[] = [];
  readonly #waiters = new Set<Waiter>(); // only while the pool has all the connections it can get
  readonly #closing = new Set<Promise<void>>();
  #openCount = 0; // including connections that are being opened
  #evictionTimer: ReturnType<typeof setTimeout> | undefined;
  #isClosed = false;

  constructor(address: MysqlAddress, size: number, fence?: Fence) {
    this.#fence = fence;
    this.#address = address;
    this.#size = size;
  }

  /**
   * Runs `work` with a connection, and rolls back a transaction that `work` leaves open. Rejects as `work`
   * does, or with a {@link DatabaseError} if no connection is available.
   */
  async use<T>(work: (connection: MysqlConnection) => Promise<T>): Promise<T> {
    const connection = await this.#acquire();
    try {
      return await work(connection);
    } finally {
      if (connection.inTransaction && connection.isUsable) {
        await connection.rollback().catch(() => connection.destroy());
      }
      this.#release(connection);
    }
  }

  /** Runs queries in one request. Retries once if the connection is lost. */
  async read(...statements: readonly Sql[]): Promise<QueryResult[]> {
    const work = (connection: MysqlConnection) => connection.query(...statements);
    try {
      return await this.use(work);
    } catch (error) {
      if (!(error instanceof DatabaseError && error.kind === "connection_lost")) throw error;
      return await this.use(work);
    }
  }

  /** Runs `work` as {@link Pool.use} does, and retries it for a while after conflicts. */
  async change<T>(work: (connection: MysqlConnection) => Promise<T>): Promise<T> {
    for (const deadline = performance.now() + MAX_RETRY_MS;;) {
      try {
        return await this.use(work);
      } catch (error) {
        const shouldRetry = error instanceof DatabaseError &&
          (error.kind === "conflict" || error.kind === "locked");
        if (!shouldRetry || performance.now() > deadline) throw error;
        await waitBeforeRetry();
      }
    }
  }

  /** Closes all connections. No call may be in flight or follow. */
  async close(): Promise<void> {
    this.#isClosed = true;
    clearTimeout(this.#evictionTimer);
    for (const connection of this.#idle.splice(0)) this.#close(connection);
    await Promise.all(this.#closing);
  }

  async #acquire(): Promise<MysqlConnection> {
    for (let connection; (connection = this.#idle.pop());) {
      if (connection.isUsable) return connection;
      this.#destroy(connection);
    }
    if (this.#openCount >= this.#size) return await this.#waitForIdle();
    try {
      return await this.#connect();
    } catch (error) {
      if (this.#shouldWait(error)) return await this.#waitForIdle();
      throw error;
    }
  }

  async #connect(): Promise<MysqlConnection> {
    this.#openCount++;
    try {
      return await MysqlConnection.open(this.#address, this.#fence);
    } catch (error) {
      this.#openCount--;
      if (this.#shouldWait(error)) throw error;
      // Waiting callers would get the same error, one after another.
      for (const { reject } of this.#waiters) reject(error as Error);
      this.#waiters.clear();
      throw error;
    }
  }

  /**
   * Whether no further connection is available while the pool has some: most often the server has too many.
   */
  #shouldWait(error: unknown): boolean {
    const { kind } = error as DatabaseError;
    return this.#openCount > 0 && (kind === "unavailable" || kind === "timeout") &&
      !(error instanceof UnsafeServerError);
  }

  async #waitForIdle(): Promise<MysqlConnection> {
    if (this.#waiters.size >= MAX_WAITING) {
      throw new DatabaseError(
        "unavailable",
        `Cannot connect to the database: ${MAX_WAITING} calls are waiting for a connection`,
      );
    }
    const { promise, resolve, reject } = Promise.withResolvers<MysqlConnection>();
    const waiter = { resolve, reject };
    const timer = setTimeout(() => {
      this.#waiters.delete(waiter);
      reject(
        new DatabaseError(
          "unavailable",
          `Cannot connect to the database: no connection was free for ${ACQUIRE_TIMEOUT_MS} ms`,
        ),
      );
    }, ACQUIRE_TIMEOUT_MS);
    this.#waiters.add(waiter);
    try {
      return await promise;
    } finally {
      clearTimeout(timer);
    }
  }

  #release(connection: MysqlConnection): void {
    if (!connection.isUsable) {
      this.#destroy(connection);
      // Its failure has rejected the waiters.
      if (this.#waiters.size > 0) this.#connect().then((replacement) => this.#release(replacement), () => {});
      return;
    }
    const [next] = this.#waiters;
    if (next) {
      this.#waiters.delete(next);
      next.resolve(connection);
    } else if (this.#isClosed) this.#close(connection);
    else {
      this.#idle.push(connection);
      this.#evictionTimer ??= setTimeout(() => this.#evictIdle(), MAX_IDLE_MS);
    }
  }

  /** Closes idle connections before the server does, which would log a warning. */
  #evictIdle(): void {
    for (const connection of this.#idle.filter(({ isUsable }) => !isUsable)) {
      this.#idle.splice(this.#idle.indexOf(connection), 1);
      this.#close(connection);
    }
    this.#evictionTimer = this.#idle.length > 0
      ? setTimeout(() => this.#evictIdle(), MAX_IDLE_MS)
      : undefined;
  }

  #close(connection: MysqlConnection): void {
    this.#openCount--;
    const closing = connection.close().finally(() => this.#closing.delete(closing));
    this.#closing.add(closing);
  }

  #destroy(connection: MysqlConnection): void {
    this.#openCount--;
    connection.destroy();
  }
}

/**
 * Waits until the conflicting transaction may have ended. The delay is random, so that two transactions do
 * not meet again.
 */
export function waitBeforeRetry(): Promise<void> {
  return sleep(Math.random() * MAX_RETRY_DELAY_MS);
}
