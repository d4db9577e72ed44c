/** Connections to the database that many callers take turns in using. */
import type { MysqlAddress } from "./address.ts";
import { DatabaseError, Unsafe } from "./errors.ts";
import type { Fence } from "./fence.ts";
import { FRESH, type Result, Session } from "./mysql_connection.ts";
import type { Sql } from "./sql.ts";

/** Callers that may wait for a connection; further ones are turned away. What they wait for takes milliseconds. */
const MAX_WAITING = 10_000;

/** Milliseconds that a caller waits for a connection. */
const WAIT_TIME = 10_000;

/** Milliseconds for which a transaction is tried again, when others are in its way. */
export const RETRY_TIME = 10_000;

/** Milliseconds of the longest pause before that: of the order of a commit, so that the others get done. */
const RETRY_PAUSE = 20;

/** A caller that waits for a connection. */
interface Waiting {
  resolve(session: Session): void;
  reject(error: Error): void;
}

/** At most a number of connections, each made when it is wanted and made anew when it was lost. */
export class Pool {
  readonly #address: MysqlAddress;
  readonly #size: number;
  readonly #fence: Fence | undefined;
  readonly #free: Session[] = [];
  readonly #waiting = new Set<Waiting>(); // only while there are as many connections as there may be
  readonly #ending = new Set<Promise<void>>();
  #open = 0; // also those that are being made
  #tidying: ReturnType<typeof setTimeout> | undefined;
  #closed = false;

  constructor(address: MysqlAddress, size: number, fence?: Fence) {
    this.#fence = fence;
    this.#address = address;
    this.#size = size;
  }

  /**
   * Lets `work` use a connection. A transaction that it leaves open is rolled back. Rejects with what `work` rejects
   * with, or with a {@link DatabaseError} if there is no connection to be had.
   */
  async use<T>(work: (session: Session) => Promise<T>): Promise<T> {
    const session = await this.#take();
    try {
      return await work(session);
    } finally {
      if (session.inTransaction && session.usable) await session.rollback().catch(() => session.destroy());
      this.#give(session);
    }
  }

  /** Reads, all at once. Tries again, once, if the connection turns out to be lost. */
  async read(...statements: readonly Sql[]): Promise<Result[]> {
    const work = (session: Session) => session.query(...statements);
    try {
      return await this.use(work);
    } catch (error) {
      if (!(error instanceof DatabaseError && error.kind === "lost")) throw error;
      return await this.use(work);
    }
  }

  /** As {@link Pool.use}, and again for a while when another transaction was in the way. */
  async change<T>(work: (session: Session) => Promise<T>): Promise<T> {
    for (const end = performance.now() + RETRY_TIME;;) {
      try {
        return await this.use(work);
      } catch (error) {
        const again = error instanceof DatabaseError &&
          (error.kind === "conflict" || error.kind === "locked");
        if (!again || performance.now() > end) throw error;
        await pauseBeforeRetry();
      }
    }
  }

  /** Closes the connections. No caller may be using it, or want to. */
  async close(): Promise<void> {
    this.#closed = true;
    clearTimeout(this.#tidying);
    for (const session of this.#free.splice(0)) this.#end(session);
    await Promise.all(this.#ending);
  }

  async #take(): Promise<Session> {
    for (let session; (session = this.#free.pop());) {
      if (session.usable) return session;
      this.#drop(session);
    }
    if (this.#open >= this.#size) return await this.#wait();
    try {
      return await this.#connect();
    } catch (error) {
      if (this.#isEnough(error)) return await this.#wait();
      throw error;
    }
  }

  async #connect(): Promise<Session> {
    this.#open++;
    try {
      return await Session.open(this.#address, this.#fence);
    } catch (error) {
      this.#open--;
      if (this.#isEnough(error)) throw error;
      // Those who wait would find the same, one after the other.
      for (const { reject } of this.#waiting) reject(error as Error);
      this.#waiting.clear();
      throw error;
    }
  }

  /** Whether there is no further connection to be had, most often as there are too many, but there are some. */
  #isEnough(error: unknown): boolean {
    const { kind } = error as DatabaseError;
    return this.#open > 0 && (kind === "refused" || kind === "silent") && !(error instanceof Unsafe);
  }

  async #wait(): Promise<Session> {
    if (this.#waiting.size >= MAX_WAITING) {
      throw new DatabaseError("refused", `${MAX_WAITING} calls are waiting for a connection to the database`);
    }
    const { promise, resolve, reject } = Promise.withResolvers<Session>();
    const waiting = { resolve, reject };
    const timer = setTimeout(() => {
      this.#waiting.delete(waiting);
      reject(new DatabaseError("refused", `no connection to the database was free for ${WAIT_TIME} ms`));
    }, WAIT_TIME);
    this.#waiting.add(waiting);
    try {
      return await promise;
    } finally {
      clearTimeout(timer);
    }
  }

  #give(session: Session): void {
    if (!session.usable) {
      this.#drop(session);
      if (this.#waiting.size > 0) this.#connect().then((fresh) => this.#give(fresh), () => {}); // it told those who wait
      return;
    }
    const [next] = this.#waiting;
    if (next) {
      this.#waiting.delete(next);
      next.resolve(session);
    } else if (this.#closed) this.#end(session);
    else {
      this.#free.push(session);
      this.#tidying ??= setTimeout(() => this.#tidy(), FRESH);
    }
  }

  /** Ends what has not been used for long before the server does, which would complain of it in its log. */
  #tidy(): void {
    for (const session of this.#free.filter(({ usable }) => !usable)) {
      this.#free.splice(this.#free.indexOf(session), 1);
      this.#end(session);
    }
    this.#tidying = this.#free.length > 0 ? setTimeout(() => this.#tidy(), FRESH) : undefined;
  }

  #end(session: Session): void {
    this.#open--;
    const ending = session.close().finally(() => this.#ending.delete(ending));
    this.#ending.add(ending);
  }

  #drop(session: Session): void {
    this.#open--;
    session.destroy();
  }
}

/** Lets the transaction that was in the way get done; at random, so that no two keep meeting. */
export function pauseBeforeRetry(): Promise<void> {
  return new Promise((resolve) => setTimeout(resolve, Math.random() * RETRY_PAUSE));
}
