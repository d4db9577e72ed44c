/**
 * The locks on logins: within the node the first to ask is the first to have one, and among nodes the one
 * that asks when it is free. A lock is a key that expires, so that it outlives its holder's crash by no more
 * than a moment.
 */
import type { Redis } from "ioredis";
import { BusUnavailableError } from "../bus.ts";
import { KeyedMutex } from "../keyed_mutex.ts";
import type { Names } from "./names.ts";
import { sleep } from "../../sleep.ts";
import { randomId } from "./payload.ts";

/** Milliseconds after which a lock that wasn't given back is free: far more than a login needs. */
const LEASE_MS = 5_000;

/**
 * Milliseconds that a lock is waited for: as long as some holders that crashed one after another can keep it.
 */
const MAX_WAIT_MS = 15_000;

/**
 * Milliseconds between two tries, at least and at most: at random, so that nodes that wait don't keep in
 * step.
 */
const RETRY_MS = [10, 50] as const;

/**
 * Takes a lock unless a node has it. A node's lock expires within the lease: what another program has written
 * would lock the account for good, or for as long as it likes. PTTL gives -2 of no key, and -1 of one that
 * does not expire.
 */
const ACQUIRE = `
local left = redis.call("PTTL", KEYS[1])
if left >= 0 and left <= tonumber(ARGV[2]) then return 0 end
redis.call("SET", KEYS[1], ARGV[1], "PX", ARGV[2])
return left == -2 and 1 or 2`;

/**
 * What {@link ACQUIRE} gives if another node has the lock, and if there was a key that no node has written; else
 * 1.
 */
const [HELD, FOREIGN] = [0, 2];

/** Gives back a lock, but not one that has expired and is another's now. */
const RELEASE = `if redis.call("GET", KEYS[1]) == ARGV[1] then redis.call("DEL", KEYS[1]) end`;

/** Sends a command to the server that has a key. */
export type SendCommand = <T>(key: string, send: (redis: Redis) => Promise<T>) => Promise<T>;

/** A node's locks. */
export class Locks {
  readonly #send: SendCommand;
  readonly #names: Names;
  readonly #signal: AbortSignal;
  readonly #onForeignKey: (key: string) => void;
  readonly #mutex = new KeyedMutex();
  readonly #held = new Map<string, string>(); // keys by tokens
  readonly #acquisitions = new Set<Promise<unknown>>();

  /**
   * `send` rejects with {@link BusUnavailableError} while the bus is down. `signal`: it is about to be closed.
   * `foundForeign` is told of a key in place of a lock's that no node has written, and that was replaced.
   */
  constructor(send: SendCommand, names: Names, signal: AbortSignal, onForeignKey: (key: string) => void) {
    this.#send = send;
    this.#names = names;
    this.#signal = signal;
    this.#onForeignKey = onForeignKey;
  }

  /** See `Bus.lock`. */
  acquire(user: number): Promise<() => Promise<void>> {
    const acquired = this.#acquire(user);
    const done = acquired.then(() => {}, () => {}).then(() => void this.#acquisitions.delete(done));
    this.#acquisitions.add(done);
    return acquired;
  }

  /** Resolves when no caller waits for a lock. */
  async whenIdle(): Promise<void> {
    await Promise.all(this.#acquisitions);
  }

  /**
   * The bus is down: no caller has to wait any more. What is held may be lost, and is still given back if
   * not.
   */
  rejectWaiters(error: BusUnavailableError): void {
    this.#mutex.rejectWaiters(this, error);
  }

  /** Gives back what is held, and rejects what is waited for. Call it after giving the signal. */
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
      acquired.then((unlock) => unlock(), () => {}); // also if it comes only now
      throw error;
    } finally {
      clearTimeout(timer);
    }
  }

  async #acquireKey(user: number, deadline: number): Promise<string> {
    const [key, token] = [this.#names.lock(user), randomId()];
    const [minMs, maxMs] = RETRY_MS;
    this.#held.set(token, key); // before it is, so that closing gives back also what is under way
    try {
      while (!(await this.#try(key, token))) {
        if (performance.now() > deadline) throw timeoutError(user);
        await sleep(minMs + Math.random() * (maxMs - minMs), this.#signal);
        if (this.#signal.aborted) break;
      }
      if (this.#signal.aborted) throw new BusUnavailableError("the bus is closed");
      return token;
    } catch (error) {
      this.#held.delete(token);
      throw error;
    }
  }

  /** Whether the lock is this node's now. */
  async #try(key: string, token: string): Promise<boolean> {
    const reply = await this.#send(key, (redis) => redis.eval(ACQUIRE, 1, key, token, LEASE_MS));
    if (reply === FOREIGN) this.#onForeignKey(key);
    return reply !== HELD;
  }

  async #release(token: string): Promise<void> {
    const key = this.#held.get(token);
    if (key === undefined) return;
    this.#held.delete(token);
    // Where that fails, the lock expires.
    await this.#send(key, (redis) => redis.eval(RELEASE, 1, key, token)).catch(() => {});
  }
}

function timeoutError(user: number): BusUnavailableError {
  return new BusUnavailableError(`user ${user} was locked for ${MAX_WAIT_MS} ms`);
}
