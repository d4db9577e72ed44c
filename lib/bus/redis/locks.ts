/**
 * The locks on logins. Within a node they are granted in the order of requests; among nodes, to the first
 * attempt after a release. A lock is a key that expires, so that it outlives a crash of its holder by seconds
 * only.
 */
import { BusUnavailableError, closedError, lockOverloadError } from "../bus.ts";
import { KeyedMutex } from "../../keyed_mutex.ts";
import { newId } from "../../new_id.ts";
import { sleep } from "../../sleep.ts";
import type { Names } from "./names.ts";
import type { SendCommand } from "./redis_connections.ts";

/** Milliseconds after which a lock expires that was not released: far more than a login takes. */
const LEASE_MS = 5_000;

/** Milliseconds that a request waits for a lock: three leases, for holders that crash one after another. */
const MAX_WAIT_MS = 15_000;

/**
 * Milliseconds between two attempts: a random value in this range, so that waiting nodes do not run in step.
 */
const RETRY_MS = [10, 50] as const;

/**
 * Takes a lock unless another node holds it. The key of a node expires within the lease. A key that does not
 * is of another program, and would lock the account for too long; it is replaced. PTTL returns -2 without a
 * key, and -1 for a key that does not expire.
 */
const ACQUIRE = `
local ttl = redis.call("PTTL", KEYS[1])
if ttl >= 0 and ttl <= tonumber(ARGV[2]) then return 0 end
redis.call("SET", KEYS[1], ARGV[1], "PX", ARGV[2])
return ttl == -2 and 1 or 2`;

/**
 * The results of {@link ACQUIRE}: another node holds the lock; or the lock was taken from a key that no node
 * has written. 1 is plain success.
 */
const [HELD, FOREIGN] = [0, 2];

/** Releases a lock, unless it has expired and another node holds it. */
const RELEASE = `if redis.call("GET", KEYS[1]) == ARGV[1] then redis.call("DEL", KEYS[1]) end`;

/** The locks of a node. */
export class Locks {
  readonly #send: SendCommand;
  readonly #names: Names;
  readonly #signal: AbortSignal;
  readonly #onForeignKey: (key: string) => void;
  readonly #mutex = new KeyedMutex<number>(lockOverloadError);
  readonly #held = new Map<string, string>(); // keys in Redis, by tokens
  readonly #acquisitions = new Set<Promise<unknown>>();

  /**
   * `send` rejects with {@link BusUnavailableError} while the bus is unavailable. `signal` aborts when the
   * bus begins to close. `onForeignKey` is called for each replaced key that no node has written.
   */
  constructor(send: SendCommand, names: Names, signal: AbortSignal, onForeignKey: (key: string) => void) {
    this.#send = send;
    this.#names = names;
    this.#signal = signal;
    this.#onForeignKey = onForeignKey;
  }

  /** Acquires a lock as `Bus.lock` does. */
  acquire(user: number): Promise<() => Promise<void>> {
    const acquired = this.#acquire(user);
    const done = acquired.then(() => {}, () => {}).then(() => void this.#acquisitions.delete(done));
    this.#acquisitions.add(done);
    return acquired;
  }

  /** Resolves when no request waits for a lock. */
  async whenIdle(): Promise<void> {
    await Promise.all(this.#acquisitions);
  }

  /**
   * Rejects all requests that wait: the bus is unavailable. The node still releases the locks that it holds,
   * which may be lost.
   */
  rejectWaiters(error: BusUnavailableError): void {
    this.#mutex.rejectWaiters(this, error);
  }

  /** Releases all locks, and rejects all requests that wait. The signal must have aborted before. */
  close(error: BusUnavailableError): void {
    this.rejectWaiters(error);
    for (const token of [...this.#held.keys()]) this.#release(token);
  }

  async #acquire(user: number): Promise<() => Promise<void>> {
    const deadline = performance.now() + MAX_WAIT_MS;
    const expired = Promise.withResolvers<never>();
    const timer = setTimeout(() => expired.reject(timeoutError(user)), MAX_WAIT_MS);
    const acquired = this.#mutex.acquire(user, this);
    try {
      const unlock = await Promise.race([acquired, expired.promise]);
      const token = await this.#acquireKey(user, deadline);
      return async () => {
        await this.#release(token);
        unlock();
      };
    } catch (error) {
      acquired.then((unlock) => unlock(), () => {}); // also if it is granted after the deadline
      throw error;
    } finally {
      clearTimeout(timer);
    }
  }

  async #acquireKey(user: number, deadline: number): Promise<string> {
    const [key, token] = [this.#names.lock(user), newId()];
    const [minMs, maxMs] = RETRY_MS;
    // Before the attempts, so that closing also releases the lock of one in flight.
    this.#held.set(token, key);
    try {
      while (!(await this.#try(key, token))) {
        if (performance.now() > deadline) throw timeoutError(user);
        await sleep(minMs + Math.random() * (maxMs - minMs), this.#signal);
        if (this.#signal.aborted) break;
      }
      if (this.#signal.aborted) throw closedError();
      return token;
    } catch (error) {
      this.#held.delete(token);
      throw error;
    }
  }

  /** Attempts to take the lock, and returns whether this node holds it. */
  async #try(key: string, token: string): Promise<boolean> {
    const reply = await this.#send(key, (redis) => redis.eval(ACQUIRE, 1, key, token, LEASE_MS));
    if (reply === FOREIGN) this.#onForeignKey(key);
    return reply !== HELD;
  }

  async #release(token: string): Promise<void> {
    const key = this.#held.get(token);
    if (key === undefined) return;
    this.#held.delete(token);
    // If this fails, the lock expires.
    await this.#send(key, (redis) => redis.eval(RELEASE, 1, key, token)).catch(() => {});
  }
}

function timeoutError(user: number): BusUnavailableError {
  return new BusUnavailableError(
    `Cannot lock user ${user}: another login held the lock for ${MAX_WAIT_MS} ms`,
  );
}
