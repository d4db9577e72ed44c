/** Connections to the database that many callers take turns in using. */
import { sleep } from "../../sleep.ts";
import type { MysqlAddress } from "./address.ts";
import { DatabaseError, UnsafeServerError } from "./errors.ts";
import type { Fence } from "./fence.ts";
import { MAX_IDLE_MS, MysqlConnection, type QueryResult } from "./mysql_connection.ts";
import type { Sql } from "./sql.ts";

/** Callers that may wait for a connection; further ones are turned away. What they wait for takes milliseconds. */
const MAX_WAITING = 10_000;

/** Milliseconds that a caller waits for a connection. */
const ACQUIRE_TIMEOUT_MS = 10_000;

/** Milliseconds for which a transaction is tried again, when others are in its way. */
export const MAX_RETRY_MS = 10_000;

/** Milliseconds of the longest pause before that: of the order of a commit, so that the others get done. */
const MAX_RETRY_DELAY_MS = 20;

/** A caller that waits for a connection. */
interface Waiter {
  resolve(connection: MysqlConnection): void;
  reject(error: Error): void;
}

/** At most a number of connections, each made when it is wanted and made anew when it was lost. */
export class Pool {
  readonly #address: MysqlAddress;
  readonly #size: number;
  readonly #fence: Fence | undefined;
  readonly #idle: MysqlConnection[] = [];
  readonly #waiters = new Set<Waiter>(); // only while there are as many connections as there may be
  readonly #closing = new Set<Promise<void>>();
  #openCount = 0; // also those that are being made
  #evictionTimer: ReturnType<typeof setTimeout> | undefined;
  #isClosed = false;

  constructor(address: MysqlAddress, size: number, fence?: Fence) {
    this.#fence = fence;
    this.#address = address;
    this.#size = size;
  }

  /**
   * Lets `work` use a connection. A transaction that it leaves open is rolled back. Rejects with what `work` rejects
   * with, or with a {@link DatabaseError} if there is no connection to be had.
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

  /** Reads, all at once. Tries again, once, if the connection turns out to be lost. */
  async read(...statements: readonly Sql[]): Promise<QueryResult[]> {
    const work = (connection: MysqlConnection) => connection.query(...statements);
    try {
      return await this.use(work);
    } catch (error) {
      if (!(error instanceof DatabaseError && error.kind === "lost")) throw error;
      return await this.use(work);
    }
  }

  /** As {@link Pool.use}, and again for a while when another transaction was in the way. */
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

  /** Closes the connections. No caller may be using it, or want to. */
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
      // Those who wait would find the same, one after the other.
      for (const { reject } of this.#waiters) reject(error as Error);
      this.#waiters.clear();
      throw error;
    }
  }

  /** Whether there is no further connection to be had, most often as there are too many, but there are some. */
  #shouldWait(error: unknown): boolean {
    const { kind } = error as DatabaseError;
    return this.#openCount > 0 && (kind === "refused" || kind === "silent") &&
      !(error instanceof UnsafeServerError);
  }

  async #waitForIdle(): Promise<MysqlConnection> {
    if (this.#waiters.size >= MAX_WAITING) {
      throw new DatabaseError("refused", `${MAX_WAITING} calls are waiting for a connection to the database`);
    }
    const { promise, resolve, reject } = Promise.withResolvers<MysqlConnection>();
    const waiter = { resolve, reject };
    const timer = setTimeout(() => {
      this.#waiters.delete(waiter);
      reject(
        new DatabaseError("refused", `no connection to the database was free for ${ACQUIRE_TIMEOUT_MS} ms`),
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
      if (this.#waiters.size > 0) this.#connect().then((replacement) => this.#release(replacement), () => {}); // it told those who wait
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

  /** Ends what has not been used for long before the server does, which would complain of it in its log. */
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

/** Lets the transaction that was in the way get done; at random, so that no two keep meeting. */
export function waitBeforeRetry(): Promise<void> {
  return sleep(Math.random() * MAX_RETRY_DELAY_MS);
}
